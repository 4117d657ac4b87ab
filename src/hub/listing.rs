//! The files of a repository, from the Hub's API.

use std::path::{Component, Path};

use serde::Deserialize;

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoFile {
    /// Its path in the repository, separated by `/`.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256 in lower-case hexadecimal. Every large or binary file has one.
    pub sha256: Option<String>,
    /// The name of its blob in the cache: the SHA-256, or git's own hash for a small text.
    pub etag: String,
}

/// A repository at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The commit.
    pub commit: String,
    /// All its files.
    pub files: Vec<RepoFile>,
}

/// The part of the API's answer that is used here.
#[derive(Deserialize)]
pub(super) struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    #[serde(alias = "oid")]
    sha256: String,
    size: Option<u64>,
}

impl Answer {
    /// The listing. The error says what in it must not become a path.
    pub(super) fn check(self) -> Result<Listing, String> {
        if !is_hex(&self.sha) {
            return Err(format!("{:?} is not a commit", self.sha));
        }
        let files = self.siblings.into_iter().map(Sibling::check);
        Ok(Listing {
            commit: self.sha,
            files: files.collect::<Result<_, _>>()?,
        })
    }
}

impl Sibling {
    fn check(self) -> Result<RepoFile, String> {
        let name = self.rfilename;
        if !is_inside(&name) {
            return Err(format!("a file is called {name:?}"));
        }
        let size = self.size.or(self.lfs.as_ref().and_then(|lfs| lfs.size));
        let sha256 = self.lfs.map(|lfs| lfs.sha256.to_lowercase());
        if let Some(sum) = &sha256
            && (sum.len() != 64 || !is_hex(sum))
        {
            return Err(format!("the sha256 of {name} is {sum:?}"));
        }
        // If empty, `Hub::complete` requests it with the file.
        let etag = sha256.clone().or(self.blob_id).unwrap_or_default();
        if !etag.is_empty() && !is_hex(&etag) {
            return Err(format!("the blob of {name} is {etag:?}"));
        }
        Ok(RepoFile {
            name,
            size: size.unwrap_or_default(),
            sha256,
            etag,
        })
    }
}

pub(super) fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit())
}

/// Whether a relative path stays inside its folder.
fn is_inside(name: &str) -> bool {
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    !name.is_empty() && !name.contains('\\') && Path::new(name).components().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Listing, String> {
        serde_json::from_str::<Answer>(json).unwrap().check()
    }

    #[test]
    fn sums_come_from_large_file_storage() {
        let sum = "ab".repeat(32);
        let text = format!(
            r#"{{"sha": "c0ffee", "private": false, "siblings": [
                {{"rfilename": "README.md", "size": 9, "blobId": "1234"}},
                {{"rfilename": "q/m.gguf", "size": 7, "blobId": "5678",
                  "lfs": {{"sha256": "{sum}", "size": 7, "pointerSize": 130}}}},
                {{"rfilename": "bare.gguf"}}]}}"#
        );
        let listing = read(&text).unwrap();
        assert_eq!(listing.commit, "c0ffee");
        let [readme, model, bare] = &listing.files[..] else {
            panic!("{listing:?}");
        };
        assert_eq!((readme.sha256.as_deref(), &readme.etag[..]), (None, "1234"));
        assert_eq!(model.sha256.as_deref(), Some(&sum[..]));
        assert_eq!((model.size, &model.etag), (7, &sum));
        assert_eq!((bare.size, &bare.etag[..]), (0, ""));
    }

    #[test]
    fn what_would_leave_the_cache_is_refused() {
        for name in ["../x", "/etc/passwd", "a/../../b", "a\\\\b", "", "./a"] {
            let text = format!(r#"{{"sha": "ff", "siblings": [{{"rfilename": "{name}"}}]}}"#);
            assert!(read(&text).is_err(), "{name}");
        }
        for text in [
            r#"{"sha": "../ff", "siblings": []}"#,
            r#"{"sha": "ff", "siblings": [{"rfilename": "m", "blobId": "../x"}]}"#,
            r#"{"sha": "ff", "siblings": [{"rfilename": "m", "lfs": {"sha256": "ff"}}]}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
