//! A small Hub on the loopback interface: the listing, the files, and every way to get them wrong.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};

pub const REPO: &str = "someone/Model-7B-GGUF";
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How one request for a file goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection ends once this share of the file has been sent.
    Cut(f64),
    /// A status instead of the file.
    Status(u16),
    /// A status with the Hub's own word for it.
    Refusal(u16, &'static str),
    /// Bytes other than those promised.
    WrongBytes,
    /// Nothing more after this share of the file, but the connection stays until the client ends it
    /// (or much later).
    Stall(f64),
}

/// What the server is like.
#[derive(Default)]
pub struct Behaviour {
    /// Its files.
    pub files: Vec<(String, Vec<u8>)>,
    /// What goes wrong with the next requests for files, in order; then all goes well.
    pub faults: Vec<Fault>,
    /// What goes wrong with the next requests for the listing.
    pub listing_faults: Vec<Fault>,
    /// Send the whole file, whatever range is asked for.
    pub ignores_range: bool,
    /// Send users elsewhere for the files, as the Hub does.
    pub redirects: bool,
    /// Leave sizes and sums out of the listing, as some mirrors do.
    pub bare_listing: bool,
    /// Let in only those who have it.
    pub token: Option<&'static str>,
    /// Wait between pieces of a file.
    pub slow: Option<Duration>,
    /// Answer the listing with this instead.
    pub listing_text: Option<String>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The byte from which the file is wanted.
    fn start(&self) -> Option<usize> {
        let range = self.header("range")?.strip_prefix("bytes=")?;
        range.split('-').next()?.parse().ok()
    }
}

struct State {
    behaviour: Behaviour,
    faults: Mutex<VecDeque<Fault>>,
    listing_faults: Mutex<VecDeque<Fault>>,
    log: Mutex<Vec<Request>>,
    port: u16,
    ended: AtomicBool,
    hung_up: AtomicUsize,
}

/// The server; it ends when this is dropped.
pub struct Server(Arc<State>);

impl Server {
    pub fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let state = Arc::new(State {
            faults: Mutex::new(behaviour.faults.clone().into()),
            listing_faults: Mutex::new(behaviour.listing_faults.clone().into()),
            behaviour,
            log: Mutex::default(),
            port: listener.local_addr().unwrap().port(),
            ended: AtomicBool::new(false),
            hung_up: AtomicUsize::new(0),
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.ended.load(Ordering::SeqCst) {
                    break;
                }
                let shared = shared.clone();
                std::thread::spawn(move || {
                    // A client that goes away is what some tests are about.
                    let _ = shared.serve(stream.unwrap());
                });
            }
        });
        Self(state)
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.0.port)
    }

    /// Requests for files so far, in order.
    pub fn file_requests(&self) -> Vec<Request> {
        let log = self.0.log.lock().unwrap();
        let wants_file =
            |it: &&Request| it.path.contains("/resolve/") || it.path.starts_with("/cdn/");
        log.iter().filter(wants_file).cloned().collect()
    }

    /// Whether a client did not wait for a stall to end; it may take a moment to hear of it.
    pub fn was_hung_up_on(&self) -> bool {
        for _ in 0..500 {
            if self.0.hung_up.load(Ordering::SeqCst) > 0 {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// Where the requests for files began.
    pub fn starts(&self) -> Vec<usize> {
        let requests = self.file_requests();
        requests.iter().map(|it| it.start().unwrap_or(0)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.0.port));
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl State {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(':') else {
                break;
            };
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        let request = Request { path, headers };
        self.log.lock().unwrap().push(request.clone());
        let mut out = stream;
        self.answer(&request, &mut out)?;
        // Lets the client read to the end before the connection is reset.
        out.shutdown(std::net::Shutdown::Write)?;
        reader.read_to_end(&mut Vec::new())?;
        Ok(())
    }

    fn answer(&self, request: &Request, out: &mut TcpStream) -> std::io::Result<()> {
        if let Some(token) = self.behaviour.token
            && request.header("authorization") != Some(&format!("Bearer {token}"))
            && !request.path.starts_with("/cdn/")
        {
            return refuse(out, 401, "RepoNotFound");
        }
        let listing = format!("/api/models/{REPO}/revision/main");
        let resolve = format!("/{REPO}/resolve/{COMMIT}/");
        let path = request.path.split('?').next().unwrap();
        if path == listing {
            let fault = self.listing_faults.lock().unwrap().pop_front();
            return match fault {
                Some(Fault::Status(status)) => refuse(out, status, ""),
                Some(Fault::Refusal(status, code)) => refuse(out, status, code),
                _ => self.list(out),
            };
        }
        let wanted = path.strip_prefix(&resolve).or(path.strip_prefix("/cdn/"));
        let file = wanted.and_then(|name| {
            let name = name.replace("%20", " ");
            self.behaviour.files.iter().find(|(it, _)| *it == name)
        });
        match file {
            None if path.starts_with(&format!("/{REPO}/")) => refuse(out, 404, "EntryNotFound"),
            None => refuse(out, 404, "RepoNotFound"),
            Some((name, bytes)) if self.behaviour.redirects && !path.starts_with("/cdn/") => {
                // Another name for this host: as another host, it must not get the token.
                let location = format!("http://localhost:{}/cdn/{name}", self.port);
                let headers = format!("Location: {location}\r\n{}", about(bytes));
                head(out, 302, &headers, 0)
            }
            Some((_, bytes)) => self.send(request, bytes, out),
        }
    }

    fn list(&self, out: &mut TcpStream) -> std::io::Result<()> {
        let sibling = |(name, bytes): &(String, Vec<u8>)| {
            if self.behaviour.bare_listing {
                return json!({ "rfilename": name });
            }
            json!({
                "rfilename": name,
                "size": bytes.len(),
                "blobId": "00ff",
                "lfs": { "sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 134 },
            })
        };
        let siblings: Vec<_> = self.behaviour.files.iter().map(sibling).collect();
        let listing = json!({ "id": REPO, "sha": COMMIT, "siblings": siblings });
        let text = self.behaviour.listing_text.clone();
        let text = text.unwrap_or_else(|| listing.to_string());
        head(out, 200, "Content-Type: application/json\r\n", text.len())?;
        out.write_all(text.as_bytes())
    }

    fn send(&self, request: &Request, bytes: &[u8], out: &mut TcpStream) -> std::io::Result<()> {
        // Asking for a single byte is asking about the file.
        let asks_only = request.header("range") == Some("bytes=0-0");
        let fault = match asks_only {
            true => None,
            false => self.faults.lock().unwrap().pop_front(),
        };
        match fault {
            Some(Fault::Status(status)) => return refuse(out, status, ""),
            Some(Fault::Refusal(status, code)) => return refuse(out, status, code),
            _ => {}
        }
        let start = match self.behaviour.ignores_range {
            true => None,
            false => request.start(),
        };
        let from = start.unwrap_or(0);
        if start.is_some() && from >= bytes.len() {
            return refuse(out, 416, "");
        }
        let mut content = bytes[from..].to_vec();
        if asks_only {
            content.truncate(1);
        }
        let mut headers = about(bytes);
        let status = match start {
            None => 200,
            Some(_) => {
                let last = from + content.len() - 1;
                headers += &format!("Content-Range: bytes {from}-{last}/{}\r\n", bytes.len());
                206
            }
        };
        head(out, status, &headers, content.len())?;
        let share = |share: f64| ((bytes.len() as f64 * share) as usize).saturating_sub(from);
        match fault {
            Some(Fault::Cut(at) | Fault::Stall(at)) => content.truncate(share(at)),
            Some(Fault::WrongBytes) => content.iter_mut().for_each(|byte| *byte ^= 1),
            _ => {}
        }
        for piece in content.chunks(64 << 10) {
            out.write_all(piece)?;
            if let Some(wait) = self.behaviour.slow {
                out.flush()?;
                std::thread::sleep(wait);
            }
        }
        if let Some(Fault::Stall(_)) = fault {
            out.set_read_timeout(Some(Duration::from_secs(20)))?;
            if out.read(&mut [0]).is_ok_and(|count| count == 0) {
                self.hung_up.fetch_add(1, Ordering::SeqCst);
            }
        }
        Ok(())
    }
}

/// What the Hub says about a file.
fn about(bytes: &[u8]) -> String {
    let sum = sha256(bytes);
    format!(
        "X-Repo-Commit: {COMMIT}\r\nX-Linked-Etag: \"{sum}\"\r\nX-Linked-Size: {}\r\n\
         ETag: \"{sum}\"\r\n",
        bytes.len()
    )
}

fn refuse(out: &mut TcpStream, status: u16, code: &str) -> std::io::Result<()> {
    let code = match code {
        "" => String::new(),
        code => format!("X-Error-Code: {code}\r\n"),
    };
    head(out, status, &code, 0)
}

fn head(out: &mut TcpStream, status: u16, headers: &str, length: usize) -> std::io::Result<()> {
    write!(
        out,
        "HTTP/1.1 {status} Some Words\r\n{headers}Content-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    )
}
