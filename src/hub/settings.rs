//! Where the Hub is, who asks, and where models are kept: the environment, as other Hugging Face
//! tools read it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::hub::HubError;

/// The Hub itself.
const ENDPOINT: &str = "https://huggingface.co";

/// How to talk to the Hub.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address of the server, without a slash at its end.
    pub endpoint: String,
    /// Who asks, if not anyone.
    pub token: Option<String>,
    /// The folder `hub` that all Hugging Face tools share.
    pub cache: PathBuf,
    /// Use what is in the cache and nothing else.
    pub offline: bool,
    /// How patient to be.
    pub patience: Patience,
}

/// How patient to be with a server.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How often to ask in a row without getting a single byte.
    pub tries: u32,
    /// The wait after the first failure; it doubles with each that follows.
    pub first_wait: Duration,
    /// The longest wait, also if the server asks for more.
    pub longest_wait: Duration,
    /// Longest time to connect.
    pub connect: Duration,
    /// Longest silence within an answer.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 5,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(30),
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// What this process's environment says.
    ///
    /// | variable | what |
    /// |---|---|
    /// | `HF_ENDPOINT` | address of a mirror |
    /// | `HF_TOKEN`, `HF_TOKEN_PATH`, else the file `token` in `HF_HOME` | who asks |
    /// | `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else in `huggingface` in `XDG_CACHE_HOME` or `~/.cache` | the cache |
    /// | `HF_HUB_OFFLINE` | 1: ask nobody |
    ///
    /// # Errors
    /// [`HubError::Setting`] for an address that is none, [`HubError::NoHome`].
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
                reason: "is no address: it should begin with https://",
            });
        }
        let offline = text("HF_HUB_OFFLINE").map(|value| value.to_lowercase());
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').into(),
            token,
            cache: cache.ok_or(HubError::NoHome)?,
            offline: matches!(offline.as_deref(), Some("1" | "on" | "yes" | "true")),
            patience: Patience::default(),
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
