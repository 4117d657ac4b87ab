//! Fetching models, from a server on the loopback interface that does everything a network can do
//! wrong.
#![cfg(feature = "hub")]

mod command;
#[cfg(unix)]
mod script;
mod server;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use logitspec::hub::{Event, Fetched, Hub, HubError, RetryPolicy, Settings};
use server::{Behaviour, COMMIT, Fault, REPO, Server, sha256};

/// Bytes without a pattern that a mistake could fit by chance; not a multiple of any buffer.
fn content(seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..))
        .take(1_234_567)
        .collect()
}

fn one_file() -> Vec<(String, Vec<u8>)> {
    vec![
        ("README.md".into(), b"Hello".to_vec()),
        ("model-7b.Q4_K_M.gguf".into(), content(1)),
    ]
}

fn with_faults(faults: &[Fault]) -> Behaviour {
    Behaviour {
        files: one_file(),
        faults: faults.to_vec(),
        ..Behaviour::default()
    }
}

/// A client of `server` with a cache of its own, quick to lose patience.
struct Client {
    cache: tempfile::TempDir,
    settings: Settings,
    said: Vec<String>,
}

impl Client {
    fn of(server: &Server) -> Self {
        let cache = tempfile::tempdir().unwrap();
        let settings = Settings {
            endpoint: server.endpoint(),
            token: None,
            cache: cache.path().into(),
            offline: false,
            retry: RetryPolicy {
                initial_backoff: Duration::from_millis(1),
                ..RetryPolicy::default()
            },
        };
        Self {
            cache,
            settings,
            said: Vec::new(),
        }
    }

    fn fetch(&mut self, name: &str) -> Result<Fetched, HubError> {
        self.fetch_until(name, &|_| false)
    }

    fn fetch_until(
        &mut self,
        name: &str,
        enough: &dyn Fn(&Event<'_>) -> bool,
    ) -> Result<Fetched, HubError> {
        let hub = Hub::new(self.settings.clone())?;
        hub.fetch(&name.parse()?, true, &mut |event| {
            match event {
                Event::Received { .. } | Event::Checking { .. } | Event::Waiting => {}
                event => self.said.push(format!("{event:?}")),
            }
            match enough(event) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
    }

    fn folder(&self) -> PathBuf {
        self.cache.path().join("models--someone--Model-7B-GGUF")
    }

    fn part(&self, bytes: &[u8]) -> PathBuf {
        self.folder().join("blobs").join(sha256(bytes) + ".part")
    }

    fn has_said(&self, word: &str) -> bool {
        self.said.iter().any(|it| it.contains(word))
    }
}

fn assert_is(path: &Path, bytes: &[u8]) {
    let got = std::fs::read(path).unwrap();
    assert!(
        got == bytes,
        "{} of {} bytes differ",
        path.display(),
        got.len()
    );
}

#[test]
fn a_file_lands_where_other_tools_look_for_it() {
    let server = Server::start(with_faults(&[]));
    let mut client = Client::of(&server);
    let fetched = client.fetch(REPO).unwrap();
    let name = "model-7b.Q4_K_M.gguf";
    let path = client.folder().join("snapshots").join(COMMIT).join(name);
    assert_eq!(fetched.model(), path);
    assert_is(&path, &content(1));
    let blob = client.folder().join("blobs").join(sha256(&content(1)));
    assert_eq!(path.canonicalize().unwrap(), blob.canonicalize().unwrap());
    let commit = std::fs::read_to_string(client.folder().join("refs/main")).unwrap();
    assert_eq!(commit, COMMIT);
    // The crate's own look-up finds it.
    let cache = hf_hub::Cache::new(client.cache.path().into());
    assert_eq!(cache.model(REPO.into()).get(name), Some(path));
    assert!(!client.part(&content(1)).exists());
}

#[test]
fn what_is_here_is_not_fetched_again() {
    let server = Server::start(with_faults(&[]));
    let mut client = Client::of(&server);
    assert!(client.fetch(REPO).unwrap().files[0].fetched);
    assert!(!client.fetch(REPO).unwrap().files[0].fetched);
    assert_eq!(server.file_requests().len(), 1);
}

#[test]
fn transfers_that_are_cut_go_on_where_they_were() {
    for cut in [0.1, 0.5, 0.99] {
        let server = Server::start(with_faults(&[Fault::Cut(cut)]));
        let mut client = Client::of(&server);
        let fetched = client.fetch(REPO).unwrap();
        assert_is(fetched.model(), &content(1));
        let starts = server.starts();
        assert_eq!(starts.len(), 2, "{cut}");
        assert_eq!(starts[1], (1_234_567.0 * cut) as usize, "{cut}");
        assert!(client.has_said("Retrying"));
    }
    // Only failures in a row count: each of these brings something.
    let cuts = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.99].map(Fault::Cut);
    let server = Server::start(with_faults(&cuts));
    let mut client = Client::of(&server);
    let fetched = client.fetch(REPO).unwrap();
    assert_is(fetched.model(), &content(1));
}

#[test]
fn retries_end_and_the_next_run_goes_on() {
    let mut faults = vec![Fault::Cut(0.5)];
    faults.extend(vec![Fault::Status(503); 5]);
    faults.extend([
        Fault::Cut(0.7),
        Fault::Cut(0.7),
        Fault::Cut(0.7),
        Fault::Cut(0.7),
        Fault::Cut(0.7),
        Fault::Cut(0.7),
    ]);
    let server = Server::start(with_faults(&faults));
    let mut client = Client::of(&server);
    let error = client.fetch(REPO).unwrap_err();
    assert!(
        matches!(error, HubError::Server { status: 503, .. }),
        "{error}"
    );
    assert_eq!(
        std::fs::metadata(client.part(&content(1))).unwrap().len(),
        617_283
    );
    let error = client.fetch(REPO).unwrap_err();
    let HubError::BrokenOff { done, size, .. } = error else {
        panic!("{error}");
    };
    assert_eq!((done, size), (864_196, 1_234_567));
    let fetched = client.fetch(REPO).unwrap();
    assert_is(fetched.model(), &content(1));
    assert_eq!(server.starts().last(), Some(&864_196));
}

#[test]
fn a_silent_server_is_asked_again() {
    let server = Server::start(with_faults(&[Fault::Stall(0.3)]));
    let mut client = Client::of(&server);
    client.settings.retry.read_timeout = Duration::from_millis(300);
    let fetched = client.fetch(REPO).unwrap();
    assert_is(fetched.model(), &content(1));
    assert_eq!(server.starts()[1], 370_370);
    assert!(server.was_hung_up_on());
}

#[test]
fn what_was_called_off_goes_on_later() {
    let server = Server::start(Behaviour {
        slow: Some(Duration::from_millis(1)),
        ..with_faults(&[])
    });
    let mut client = Client::of(&server);
    let enough = |event: &Event<'_>| matches!(event, Event::Received { done } if *done > 600_000);
    let error = client.fetch_until(REPO, &enough).unwrap_err();
    assert!(matches!(error, HubError::Cancelled), "{error}");
    let there = std::fs::metadata(client.part(&content(1))).unwrap().len();
    assert!((600_000..1_234_567).contains(&there), "{there}");
    let fetched = client.fetch(REPO).unwrap();
    assert_is(fetched.model(), &content(1));
    assert_eq!(server.starts()[1] as u64, there);
}

#[test]
fn wrong_bytes_are_thrown_away() {
    let server = Server::start(with_faults(&[Fault::WrongBytes]));
    let mut client = Client::of(&server);
    let error = client.fetch(REPO).unwrap_err();
    assert!(error.to_string().contains(&sha256(&content(1))), "{error}");
    assert!(matches!(error, HubError::Checksum { .. }));
    assert!(!error.is_input_error());
    assert!(!client.part(&content(1)).exists());
    assert!(!client.folder().join("snapshots").exists());
    assert_is(client.fetch(REPO).unwrap().model(), &content(1));
}

#[test]
fn a_damaged_beginning_is_fetched_again() {
    let server = Server::start(with_faults(&[]));
    let mut client = Client::of(&server);
    std::fs::create_dir_all(client.folder().join("blobs")).unwrap();
    std::fs::write(client.part(&content(1)), vec![7; 500_000]).unwrap();
    assert_is(client.fetch(REPO).unwrap().model(), &content(1));
    assert_eq!(server.starts(), [500_000, 0]);
    assert!(client.has_said("StartedOver"));
}

#[test]
fn a_beginning_longer_than_the_file_is_no_beginning() {
    let server = Server::start(with_faults(&[]));
    let mut client = Client::of(&server);
    std::fs::create_dir_all(client.folder().join("blobs")).unwrap();
    std::fs::write(client.part(&content(1)), vec![7; 2_000_000]).unwrap();
    assert_is(client.fetch(REPO).unwrap().model(), &content(1));
    assert_eq!(server.starts(), [0]);
}

#[test]
fn a_whole_beginning_needs_no_transfer() {
    let server = Server::start(with_faults(&[]));
    let mut client = Client::of(&server);
    std::fs::create_dir_all(client.folder().join("blobs")).unwrap();
    std::fs::write(client.part(&content(1)), content(1)).unwrap();
    assert_is(client.fetch(REPO).unwrap().model(), &content(1));
    assert_eq!(server.file_requests().len(), 0);
}

#[test]
fn a_damaged_file_in_the_cache_is_mended() {
    let server = Server::start(with_faults(&[]));
    let mut client = Client::of(&server);
    let path = client.fetch(REPO).unwrap().model().to_owned();
    let mut damaged = content(1);
    damaged[1000] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let fetched = client.fetch(REPO).unwrap();
    assert!(fetched.files[0].fetched);
    assert_is(&path, &content(1));
}

#[test]
fn servers_that_ignore_ranges_still_serve() {
    let server = Server::start(Behaviour {
        ignores_range: true,
        ..with_faults(&[Fault::Cut(0.5), Fault::Cut(0.7)])
    });
    let mut client = Client::of(&server);
    assert_is(client.fetch(REPO).unwrap().model(), &content(1));
    assert_eq!(server.starts(), [0, 617_283, 864_196]);
}

#[test]
fn redirects_are_followed_and_the_token_stays_behind() {
    let server = Server::start(Behaviour {
        redirects: true,
        token: Some("secret"),
        ..with_faults(&[Fault::Cut(0.5)])
    });
    let mut client = Client::of(&server);
    client.settings.token = Some("secret".into());
    assert_is(client.fetch(REPO).unwrap().model(), &content(1));
    let requests = server.file_requests();
    let elsewhere: Vec<_> = requests
        .iter()
        .filter(|it| it.path.starts_with("/cdn/"))
        .collect();
    assert_eq!(elsewhere.len(), 2);
    for request in elsewhere {
        assert_eq!(request.header("authorization"), None);
    }
    assert_eq!(requests[0].header("authorization"), Some("Bearer secret"));
}

#[test]
fn refusals_name_the_mend() {
    let refused = |fault: Fault, in_listing: bool| {
        let mut behaviour = with_faults(&[]);
        match in_listing {
            true => behaviour.listing_faults = vec![fault; 9],
            false => behaviour.faults = vec![fault; 9],
        }
        let server = Server::start(behaviour);
        let error = Client::of(&server).fetch(REPO).unwrap_err();
        (error.to_string(), error.is_input_error())
    };
    for in_listing in [true, false] {
        let (text, input) = refused(Fault::Status(401), in_listing);
        assert!(
            text.contains("HF_TOKEN") && text.contains("spelling") && input,
            "{text}"
        );
        let (text, input) = refused(Fault::Refusal(403, "GatedRepo"), in_listing);
        assert!(text.contains("ask for access at http") && input, "{text}");
        let (text, input) = refused(Fault::Refusal(401, "GatedRepo"), in_listing);
        assert!(text.contains("ask for access at http") && input, "{text}");
        let (text, input) = refused(Fault::Status(404), in_listing);
        assert!(text.contains("check the spelling") && input, "{text}");
        let (text, input) = refused(Fault::Status(503), in_listing);
        assert!(
            text.contains("503 (Service Unavailable) after 5 tries") && !input,
            "{text}"
        );
        let (text, _) = refused(Fault::Status(418), in_listing);
        assert!(
            text.contains("418") && text.contains("HF_ENDPOINT"),
            "{text}"
        );
    }
}

#[test]
fn a_short_outage_is_sat_out() {
    let server = Server::start(Behaviour {
        listing_faults: vec![Fault::Status(503), Fault::Status(429)],
        ..with_faults(&[Fault::Status(503), Fault::Status(500)])
    });
    assert_is(
        Client::of(&server).fetch(REPO).unwrap().model(),
        &content(1),
    );
}

#[test]
fn a_wrong_token_is_said_to_be_wrong() {
    let server = Server::start(Behaviour {
        token: Some("secret"),
        ..with_faults(&[])
    });
    let mut client = Client::of(&server);
    client.settings.token = Some("guess".into());
    let error = client.fetch(REPO).unwrap_err().to_string();
    assert!(error.contains("the one that was sent may not"), "{error}");
}

#[test]
fn without_a_server_the_cache_has_to_do() {
    let server = Server::start(with_faults(&[]));
    let mut client = Client::of(&server);
    client.fetch(REPO).unwrap();
    drop(server);
    let fetched = client.fetch(&format!("{REPO}:Q4_K_M")).unwrap();
    assert_is(fetched.model(), &content(1));
    assert!(fetched.outage.is_some());
    let error = client.fetch("someone/else").unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
    client.settings.offline = true;
    let fetched = client.fetch(REPO).unwrap();
    assert!(fetched.outage.is_none());
    assert_is(fetched.model(), &content(1));
    let error = client.fetch(&format!("{REPO}:Q8_0")).unwrap_err();
    assert!(error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
}

#[test]
fn a_login_page_is_no_listing() {
    for text in ["<html>Welcome to our hotel</html>", "{}", "[1]", ""] {
        let server = Server::start(Behaviour {
            listing_text: Some(text.into()),
            ..with_faults(&[])
        });
        let error = Client::of(&server).fetch(REPO).unwrap_err();
        assert!(matches!(error, HubError::Answer { .. }), "{text}: {error}");
        assert!(error.to_string().contains("log in"), "{error}");
    }
}

#[test]
fn names_that_would_leave_the_cache_are_refused() {
    let sum = "a".repeat(64);
    let text = format!(
        r#"{{"sha": "{COMMIT}", "siblings": [
            {{"rfilename": "../../x.gguf", "size": 3, "lfs": {{"sha256": "{sum}"}}}}]}}"#
    );
    let server = Server::start(Behaviour {
        listing_text: Some(text),
        ..with_faults(&[])
    });
    let error = Client::of(&server).fetch(REPO).unwrap_err();
    assert!(matches!(error, HubError::Answer { .. }), "{error}");
}

#[test]
fn mirrors_that_list_names_only_are_asked_about_the_file() {
    for redirects in [false, true] {
        let server = Server::start(Behaviour {
            bare_listing: true,
            redirects,
            ..with_faults(&[Fault::Cut(0.5)])
        });
        let mut client = Client::of(&server);
        let fetched = client.fetch(REPO).unwrap();
        assert_is(fetched.model(), &content(1));
        assert_eq!(fetched.files[0].file.sha256, Some(sha256(&content(1))));
    }
}

#[test]
fn repositories_with_many_files_give_the_one_that_is_meant() {
    let server = Server::start(Behaviour {
        files: vec![
            ("m.Q2_K.gguf".into(), content(2)),
            ("m.Q4_K_M.gguf".into(), content(3)),
            (
                "folder with space/m.Q8_0-00001-of-00002.gguf".into(),
                content(4),
            ),
            (
                "folder with space/m.Q8_0-00002-of-00002.gguf".into(),
                content(5),
            ),
            ("mmproj-f16.gguf".into(), content(6)),
        ],
        ..Behaviour::default()
    });
    let mut client = Client::of(&server);
    assert_is(client.fetch(REPO).unwrap().model(), &content(3));
    let fetched = client.fetch(&format!("{REPO}:q2_k")).unwrap();
    assert_is(fetched.model(), &content(2));
    let split = client.fetch(&format!("{REPO}:Q8_0")).unwrap();
    assert_eq!(split.files.len(), 2);
    assert_is(&split.files[0].path, &content(4));
    assert_is(&split.files[1].path, &content(5));
    // llama.cpp looks for the other parts beside the first.
    assert_eq!(split.files[0].path.parent(), split.files[1].path.parent());
    let error = client.fetch(&format!("{REPO}:IQ3_M")).unwrap_err();
    assert!(
        error.to_string().contains("m.Q2_K.gguf (1.2 MB)"),
        "{error}"
    );
    let whole = error.to_string();
    assert!(whole.contains("(2.5 MB in 2 parts)"), "{whole}");
}

#[test]
fn a_lock_is_waited_for() {
    let server = Server::start(with_faults(&[]));
    let mut client = Client::of(&server);
    std::fs::create_dir_all(client.folder().join("blobs")).unwrap();
    let path = client.part(&content(1)).with_extension("lock");
    let lock = std::fs::File::create(path).unwrap();
    fs4::FileExt::lock(&lock).unwrap();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        drop(lock);
    });
    assert_is(client.fetch(REPO).unwrap().model(), &content(1));
    assert!(client.has_said("Locked"));
}

#[test]
fn what_is_here_needs_no_lock() {
    let server = Server::start(with_faults(&[]));
    let mut client = Client::of(&server);
    client.fetch(REPO).unwrap();
    let path = client.part(&content(1)).with_extension("lock");
    let lock = std::fs::File::create(path).unwrap();
    fs4::FileExt::lock(&lock).unwrap();
    client.fetch(REPO).unwrap();
    assert!(!client.has_said("Locked"));
}
