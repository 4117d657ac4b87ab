//! The address of the Hub, the token and the cache folder, from the same environment variables as
//! in other Hugging Face tools.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::hub::HubError;

/// The address of the Hub.
const ENDPOINT: &str = "https://huggingface.co";

/// The settings of a [`Hub`](crate::hub::Hub).
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address of the server, without a trailing slash.
    pub endpoint: String,
    /// The access token, if any.
    pub token: Option<String>,
    /// The cache folder `hub` that all Hugging Face tools share.
    pub cache: PathBuf,
    /// Use only the cache.
    pub offline: bool,
    /// Retries and timeouts.
    pub retry: RetryPolicy,
}

/// Retries and timeouts of requests.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Most requests in a row that bring no byte.
    pub max_tries: u32,
    /// The wait after the first failure. It doubles with each further one.
    pub initial_backoff: Duration,
    /// The longest wait, even if the server asks for more.
    pub max_backoff: Duration,
    /// Timeout for a connection.
    pub connect_timeout: Duration,
    /// Timeout for each read of an answer.
    pub read_timeout: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_tries: 5,
            initial_backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// The settings in this process's environment.
    ///
    /// | setting | variables |
    /// |---|---|
    /// | address of a mirror | `HF_ENDPOINT` |
    /// | token | `HF_TOKEN`, or the file `HF_TOKEN_PATH`, or the file `token` in the home |
    /// | home | `HF_HOME`, or `huggingface` in `XDG_CACHE_HOME` or in `~/.cache` |
    /// | cache | `HF_HUB_CACHE`, or `hub` in the home |
    /// | use only the cache | `HF_HUB_OFFLINE=1` |
    ///
    /// # Errors
    /// [`HubError::Setting`] for an invalid address, [`HubError::NoHome`].
    pub fn from_env() -> Result<Self, HubError> {
        let get = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self::from_variables(&get, std::env::home_dir())
    }

    fn from_variables(
        get: &dyn Fn(&str) -> Option<OsString>,
        user_home: Option<PathBuf>,
    ) -> Result<Self, HubError> {
        let text = |name: &str| get(name).map(|value| value.to_string_lossy().trim().to_owned());
        let home = get("HF_HOME").map(PathBuf::from).or_else(|| {
            let cache = get("XDG_CACHE_HOME").map(PathBuf::from);
            let cache = cache.or_else(|| Some(user_home?.join(".cache")))?;
            Some(cache.join("huggingface"))
        });
        let cache = get("HF_HUB_CACHE").or_else(|| get("HUGGINGFACE_HUB_CACHE"));
        let cache = cache.map(PathBuf::from);
        let cache = cache.or_else(|| Some(home.as_ref()?.join("hub")));
        let token_file = get("HF_TOKEN_PATH").map(PathBuf::from);
        let token_file = token_file.or_else(|| Some(home?.join("token")));
        let token = text("HF_TOKEN")
            .or_else(|| text("HUGGING_FACE_HUB_TOKEN"))
            .or_else(|| std::fs::read_to_string(token_file?).ok())
            .map(|token| token.trim().to_owned())
            .filter(|token| !token.is_empty());
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into());
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            return Err(HubError::Setting {
                name: "HF_ENDPOINT",
                value: endpoint,
                reason: "is not an address: it must start with https://",
            });
        }
        let offline = text("HF_HUB_OFFLINE").map(|value| value.to_lowercase());
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').into(),
            token,
            cache: cache.ok_or(HubError::NoHome)?,
            offline: matches!(offline.as_deref(), Some("1" | "on" | "yes" | "true")),
            retry: RetryPolicy::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Settings, HubError> {
        let get = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Settings::from_variables(&get, Some("/home/me".into()))
    }

    #[test]
    fn the_cache_is_where_other_tools_have_it() {
        let cache = |variables: &[(&str, &str)]| from(variables).unwrap().cache;
        assert_eq!(cache(&[]), PathBuf::from("/home/me/.cache/huggingface/hub"));
        let xdg = ("XDG_CACHE_HOME", "/x");
        assert_eq!(cache(&[xdg]), PathBuf::from("/x/huggingface/hub"));
        let home = ("HF_HOME", "/h");
        assert_eq!(cache(&[xdg, home]), PathBuf::from("/h/hub"));
        let hub = ("HF_HUB_CACHE", "/c");
        assert_eq!(cache(&[xdg, home, hub]), PathBuf::from("/c"));
    }

    #[test]
    fn the_token_is_a_variable_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "from-file\n").unwrap();
        let home = ("HF_HOME", folder.path().to_str().unwrap());
        assert_eq!(from(&[home]).unwrap().token.unwrap(), "from-file");
        let token = ("HF_TOKEN", " from-variable\n");
        assert_eq!(
            from(&[home, token]).unwrap().token.unwrap(),
            "from-variable"
        );
        assert_eq!(from(&[("HF_HOME", "/none")]).unwrap().token, None);
    }

    #[test]
    fn the_endpoint_is_an_address() {
        assert_eq!(from(&[]).unwrap().endpoint, ENDPOINT);
        let mirror = from(&[("HF_ENDPOINT", "http://mirror/")]).unwrap();
        assert_eq!(mirror.endpoint, "http://mirror");
        let error = from(&[("HF_ENDPOINT", "mirror")]).unwrap_err();
        assert!(error.to_string().contains("HF_ENDPOINT"), "{error}");
    }

    #[test]
    fn offline_is_a_switch() {
        for (value, offline) in [("1", true), ("True", true), ("0", false), ("no", false)] {
            let settings = from(&[("HF_HUB_OFFLINE", value)]).unwrap();
            assert_eq!(settings.offline, offline, "{value}");
        }
    }
}
