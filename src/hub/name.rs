//! Model names: `user/repo`, `user/repo:Q4_K_M`, `user/repo:file.gguf`.

use std::fmt;
use std::str::FromStr;

use crate::hub::HubError;

/// A repository on the Hub and, optionally, one of its models.
///
/// ```
/// use logitspec::hub::ModelName;
///
/// let name: ModelName = "TheBloke/CodeLlama-7B-Instruct-GGUF:Q4_K_M".parse()?;
/// assert_eq!(name.repo(), "TheBloke/CodeLlama-7B-Instruct-GGUF");
/// assert_eq!(name.quant(), Some("Q4_K_M"));
/// assert!("no-user".parse::<ModelName>().is_err());
/// # Ok::<(), logitspec::hub::HubError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName {
    repo: String,
    quant: Option<String>,
}

impl ModelName {
    /// `user/repo`.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// The text after the colon: a quantization, or a file name.
    pub fn quant(&self) -> Option<&str> {
        self.quant.as_deref()
    }
}

impl FromStr for ModelName {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let wrong = || HubError::Name { given: text.into() };
        let (repo, quant) = match text.split_once(':') {
            Some((repo, quant)) => (repo, Some(quant)),
            None => (text, None),
        };
        let (user, name) = repo.split_once('/').ok_or_else(wrong)?;
        if !is_part(user) || !is_part(name) || quant.is_some_and(str::is_empty) {
            return Err(wrong());
        }
        Ok(Self {
            repo: repo.into(),
            quant: quant.map(Into::into),
        })
    }
}

/// The Hub's rule for the names of users and repositories. It also keeps `..` out of paths.
fn is_part(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text.chars().all(allowed) && !text.starts_with('.') && !text.contains("..")
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        match &self.quant {
            Some(quant) => write!(f, ":{quant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_alike() {
        for text in ["u/r", "a-b/c.d_e", "u/r:Q4_K_M", "u/r:sub/file.gguf"] {
            assert_eq!(text.parse::<ModelName>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "/",
            "r",
            "u/",
            "/r",
            "u/r/x",
            "u/r:",
            "../r",
            "u/..",
            "u/a..b",
            "u r/x",
            "https://huggingface.co/u/r",
        ] {
            assert!(text.parse::<ModelName>().is_err(), "{text}");
        }
    }
}
