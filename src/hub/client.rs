//! The client of the Hub: lists repositories and downloads their files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};

use crate::hub::cache::Store;
use crate::hub::choose::choose;
use crate::hub::http::{Failure, Failures, Http, notify, pause, successful};
use crate::hub::listing::{Answer, Listing, RepoFile, is_hex};
use crate::hub::transfer::{Source, sha256_of, transfer};
use crate::hub::{Event, HubError, ModelName, Settings, Watch};

/// How often to check whether another process is done with a file.
const LOCK_WAIT: Duration = Duration::from_millis(300);

/// Largest listing that is read.
const LISTING_LIMIT: u64 = 64 << 20;

/// A client of the Hub.
pub struct Hub {
    http: Http,
    api: Api,
}

/// A model on disk.
#[derive(Debug)]
pub struct Fetched {
    /// Its commit.
    pub commit: String,
    /// Its files: one, or all parts of a split model. Never empty.
    pub files: Vec<FetchedFile>,
    /// Why the Hub could not be reached, if so. The files are then those of the cache.
    pub outage: Option<HubError>,
}

/// A file on disk.
#[derive(Debug)]
pub struct FetchedFile {
    /// The file in the repository.
    pub file: RepoFile,
    /// Its path.
    pub path: PathBuf,
    /// Whether anything was downloaded.
    pub fetched: bool,
}

impl Fetched {
    /// The file to load: the only one, or the first part.
    pub fn model(&self) -> &Path {
        &self.files[0].path
    }
}

impl Hub {
    /// A client with these settings. Makes no request.
    ///
    /// # Errors
    /// [`HubError::Answer`] if the settings are invalid.
    pub fn new(settings: Settings) -> Result<Self, HubError> {
        let api = ApiBuilder::from_cache(Cache::new(settings.cache.clone()))
            .with_endpoint(settings.endpoint.clone())
            .with_token(settings.token.clone())
            .with_user_agent("logitspec", env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|error| answer(&settings, error.to_string()))?;
        let http = Http::new(settings);
        Ok(Self { http, api })
    }

    fn settings(&self) -> &Settings {
        &self.http.settings
    }

    /// The files of `repo`.
    ///
    /// # Errors
    /// Errors of the server, [`HubError::ListingOffline`], [`HubError::Cancelled`].
    pub fn listing(&self, repo: &str, watch: &mut Watch<'_>) -> Result<Listing, HubError> {
        let settings = self.settings();
        if settings.offline {
            return Err(HubError::ListingOffline { repo: repo.into() });
        }
        let mut failures = Failures::new(settings.retry);
        loop {
            notify(watch, &Event::Waiting)?;
            let request = self.api.model(repo.into()).info_request();
            let answered = request
                .query("blobs", "true")
                .config()
                .http_status_as_error(false)
                .timeout_resolve(Some(settings.retry.connect_timeout))
                .timeout_connect(Some(settings.retry.connect_timeout))
                .timeout_recv_response(Some(settings.retry.read_timeout))
                .timeout_per_read(Some(settings.retry.read_timeout))
                .build()
                .call();
            let failure = match successful(answered) {
                Ok(mut response) => {
                    let body = response.body_mut().with_config().limit(LISTING_LIMIT);
                    match body.read_json::<Answer>() {
                        Ok(read) => return read.check().map_err(|why| answer(settings, why)),
                        Err(ureq::Error::Json(error)) if !error.is_io() => {
                            return Err(answer(settings, error.to_string()));
                        }
                        Err(error) => Failure::from(error),
                    }
                }
                Err(failure) => failure,
            };
            // Report a missing connection at once.
            let unreachable = matches!(failure, Failure::Unreachable(_));
            if unreachable || !failures.another_try(&failure, watch)? {
                let what = format!("model {repo}");
                return Err(failure.error(settings, repo, &what, failures.count));
            }
        }
    }

    /// Downloads the model `name`. Files that are already in the cache are not downloaded again;
    /// with `check`, their SHA-256 is verified first.
    ///
    /// With `HF_HUB_OFFLINE`, only the cache is used. The same holds if the Hub cannot be reached;
    /// [`Fetched::outage`] then has the reason.
    ///
    /// # Errors
    /// Any [`HubError`].
    pub fn fetch(
        &self,
        name: &ModelName,
        check: bool,
        watch: &mut Watch<'_>,
    ) -> Result<Fetched, HubError> {
        let store = Store::new(&self.settings().cache, name.repo());
        if self.settings().offline {
            let error = HubError::OfflineWanted {
                name: name.to_string(),
                cache: self.settings().cache.clone(),
            };
            return cached(&store, name).ok_or(error);
        }
        let listing = match self.listing(name.repo(), watch) {
            Err(error) if error.is_outage() => {
                return match cached(&store, name) {
                    Some(fetched) => Ok(Fetched {
                        outage: Some(error),
                        ..fetched
                    }),
                    None => Err(error),
                };
            }
            listing => listing?,
        };
        let mut files = choose(name, &listing.files)?;
        let commit = &listing.commit;
        for file in &mut files {
            self.complete(name, commit, file)?;
        }
        store.make_folder()?;
        self.check_space(&store, commit, &files)?;
        let of = files.len();
        let mut fetched = Vec::with_capacity(of);
        for (index, file) in files.into_iter().enumerate() {
            let number = index + 1;
            let begun = Event::Begun {
                file: &file,
                number,
                of,
            };
            notify(watch, &begun)?;
            let new = self.fetch_file(&store, name.repo(), commit, &file, check, watch)?;
            let path = store.point(&file, commit)?;
            notify(watch, &Event::Finished { fetched: new })?;
            fetched.push(FetchedFile {
                file,
                path,
                fetched: new,
            });
        }
        store.set_commit(commit)?;
        Ok(Fetched {
            commit: listing.commit,
            files: fetched,
            outage: None,
        })
    }

    /// Downloads one file into the cache. Returns whether anything was downloaded.
    fn fetch_file(
        &self,
        store: &Store,
        repo: &str,
        commit: &str,
        file: &RepoFile,
        check: bool,
        watch: &mut Watch<'_>,
    ) -> Result<bool, HubError> {
        let mut damaged = false;
        // First, without writing: the cache may be a shared one that is read-only.
        if let Some(path) = store.find(file, commit) {
            match &file.sha256 {
                Some(sum) if check && *sum != sha256_of(&path, watch)? => {
                    damaged = true;
                    notify(watch, &Event::StartedOver)?;
                }
                _ => return Ok(false),
            }
        }
        let _lock = wait_for_lock(store, file, watch)?;
        // The process that had the lock may have downloaded it.
        if !damaged && store.find(file, commit).is_some() {
            return Ok(false);
        }
        let part = store.part(file);
        let blob = store.blob(file);
        let source = Source {
            http: &self.http,
            repo,
            url: &self.url(repo, commit, &file.name),
        };
        transfer(&source, file, &part, watch)?;
        fs::rename(&part, &blob).map_err(|error| HubError::Disk { path: blob, error })?;
        Ok(true)
    }

    /// Requests what the listing lacks: some mirrors leave out sizes and checksums.
    fn complete(
        &self,
        name: &ModelName,
        commit: &str,
        file: &mut RepoFile,
    ) -> Result<(), HubError> {
        if file.size > 0 && file.sha256.is_some() {
            return Ok(());
        }
        let settings = self.settings();
        let url = self.url(name.repo(), commit, &file.name);
        let metadata = self.api.metadata(&url).map_err(|error| match error {
            ApiError::RequestError(error) => {
                Failure::from(*error).error(settings, name.repo(), &file.name, 1)
            }
            error => answer(settings, format!("{}: {error}", file.name)),
        })?;
        let etag = metadata.etag().trim_start_matches("W/").to_lowercase();
        if !is_hex(&etag) {
            return Err(answer(
                settings,
                format!("the ETag of {} is {etag:?}", file.name),
            ));
        }
        file.size = metadata.size() as u64;
        file.sha256 = (etag.len() == 64).then(|| etag.clone());
        file.etag = etag;
        Ok(())
    }

    fn url(&self, repo: &str, commit: &str, file: &str) -> String {
        let repo = Repo::with_revision(repo.into(), RepoType::Model, commit.into());
        self.api.repo(repo).url(&escaped(file))
    }

    fn check_space(&self, store: &Store, commit: &str, files: &[RepoFile]) -> Result<(), HubError> {
        let missing = files
            .iter()
            .filter(|file| store.find(file, commit).is_none());
        let needed = missing.map(|file| {
            let there = fs::metadata(store.part(file)).map_or(0, |it| it.len());
            file.size.saturating_sub(there)
        });
        let needed: u64 = needed.sum();
        let folder = &self.settings().cache;
        match fs4::available_space(folder) {
            Ok(free) if free < needed => Err(HubError::NoSpace {
                folder: folder.clone(),
                needed,
                free,
            }),
            // Not every file system reports its free space.
            _ => Ok(()),
        }
    }
}

/// The model, if the cache has all of its files.
fn cached(store: &Store, name: &ModelName) -> Option<Fetched> {
    store.listings().into_iter().find_map(|(commit, files)| {
        let files = choose(name, &files).ok()?;
        let here = |file: RepoFile| FetchedFile {
            path: store.path(&file, &commit),
            file,
            fetched: false,
        };
        Some(Fetched {
            files: files.into_iter().map(here).collect(),
            commit,
            outage: None,
        })
    })
}

fn wait_for_lock(
    store: &Store,
    file: &RepoFile,
    watch: &mut Watch<'_>,
) -> Result<fs::File, HubError> {
    let mut told = false;
    loop {
        if let Some(lock) = store.try_lock(file)? {
            return Ok(lock);
        }
        if !told {
            notify(watch, &Event::Locked)?;
            told = true;
        }
        pause(LOCK_WAIT, watch)?;
    }
}

fn answer(settings: &Settings, cause: String) -> HubError {
    HubError::Answer {
        endpoint: settings.endpoint.clone(),
        cause,
    }
}

/// A file's path, escaped for an address.
fn escaped(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let escape = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    path.bytes().map(escape).collect()
}
