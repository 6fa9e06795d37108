//! HTTP for one reader on the same machine: a page of the loopback address, GET alone, a connection for each request.
//! Not here: what is answered (`live`).
//!
//! A page of another site can make a browser send requests here. So a request must name this address as its host, which one
//! whose name was pointed here ("DNS rebinding") does not; replies carry no permission for other origins, and may not be
//! taken for scripts or be put into a frame.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::error::ReportError;

/// Bytes of a request up to its empty line.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Requests that are answered at once; browsers open six or so.
const MAX_CONNECTIONS: usize = 32;
/// How long a request may take to arrive, and a reply to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked whether to go on.
const TICK: Duration = Duration::from_millis(50);

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// From the first `/` up to a `?`.
    pub path: &'a str,
    /// What follows the `?`; empty without one.
    pub query: &'a str,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    status: u16,
    media_type: &'static str,
    body: Vec<u8>,
}

impl Reply {
    /// An answer with a body.
    pub fn new(status: u16, media_type: &'static str, body: Vec<u8>) -> Self {
        Self { status, media_type, body }
    }

    /// A page.
    pub fn html(text: String) -> Self {
        Self::new(200, "text/html; charset=utf-8", text.into_bytes())
    }

    /// There is nothing new.
    pub fn unchanged() -> Self {
        Self::new(204, "text/plain; charset=utf-8", Vec::new())
    }

    /// There is no such thing.
    pub fn not_found() -> Self {
        Self::refused(404, "there is no such page")
    }

    /// It could not be made.
    pub fn failed(why: &str) -> Self {
        Self::refused(500, why)
    }

    fn refused(status: u16, why: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", format!("{why}\n").into_bytes())
    }

    fn bytes(&self) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            204 => "No Content",
            400 => "Bad Request",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            503 => "Service Unavailable",
            _ => "Internal Server Error",
        };
        let head = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\nCross-Origin-Resource-Policy: same-origin\r\n\
             Referrer-Policy: no-referrer\r\nConnection: close\r\n\r\n",
            self.status,
            self.media_type,
            self.body.len(),
        );
        [head.as_bytes(), &self.body].concat()
    }
}

/// Takes a port of the loopback address; 0 takes any that is free.
///
/// # Errors
/// Another program has it, or the system refuses it.
pub fn listen(port: u16) -> Result<(TcpListener, SocketAddr), ReportError> {
    let failed = |source: io::Error| match source.kind() {
        ErrorKind::AddrInUse => ReportError::PortTaken { port, source },
        _ => ReportError::Port { port, source },
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// A connection that is counted until it is dropped, however its thread ends.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Answers requests until `goes_on` says no more.
///
/// # Errors
/// The system takes no more connections.
pub fn serve(
    listener: &TcpListener,
    goes_on: impl Fn() -> bool,
    reply: impl Fn(&Request<'_>) -> Reply + Send + Sync + 'static,
) -> io::Result<()> {
    let port = listener.local_addr()?.port();
    let reply = Arc::new(reply);
    let n_open = Arc::new(AtomicUsize::new(0));
    while goes_on() {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(TICK);
                continue;
            }
            // A reader that went away before it was taken is no failure of ours.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        let (reply, open) = (Arc::clone(&reply), Open(Arc::clone(&n_open)));
        let is_crowded = n_open.fetch_add(1, Ordering::SeqCst) >= MAX_CONNECTIONS;
        let connection = std::thread::Builder::new().name("page".to_owned());
        connection.spawn(move || {
            let _open = open;
            if let Err(error) = converse(stream, port, is_crowded, reply.as_ref()) {
                tracing::debug!("a reader of the page went away: {error}");
            }
        })?;
    }
    Ok(())
}

/// Reads a request and writes its reply.
fn converse(
    mut stream: TcpStream,
    port: u16,
    is_crowded: bool,
    reply: &dyn Fn(&Request<'_>) -> Reply,
) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let Some(head) = read_head(&mut stream)? else { return Ok(()) };
    let reply = if is_crowded {
        Reply::refused(503, "too many requests at once")
    } else {
        match parsed(&head, port) {
            Ok(request) => reply(&request),
            Err(refusal) => refusal,
        }
    };
    stream.write_all(&reply.bytes())?;
    stream.shutdown(Shutdown::Write)
}

/// A request up to its empty line; none where the reader says nothing, as browsers do that connect in advance.
fn read_head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut buffer = [0; 2048];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > MAX_HEAD_BYTES {
            return Ok(Some(String::new()));
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(None),
            n => head.extend_from_slice(&buffer[..n]),
        }
    }
    Ok(Some(String::from_utf8(head).unwrap_or_default()))
}

/// The request of a head that names this address as its host; else the reply that refuses it.
fn parsed(head: &str, port: u16) -> Result<Request<'_>, Reply> {
    let mut lines = head.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let ["GET", target, "HTTP/1.1" | "HTTP/1.0"] = words[..] else {
        return Err(match words[..] {
            [_, _, "HTTP/1.1" | "HTTP/1.0"] => Reply::refused(405, "only GET is answered"),
            _ => Reply::refused(400, "this is no request"),
        });
    };
    let headers = lines.filter_map(|line| line.split_once(':'));
    let hosts: Vec<&str> = headers
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("host"))
        .map(|(_, host)| host.trim())
        .collect();
    let own = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    if hosts.len() != 1 || !own.iter().any(|own| own.eq_ignore_ascii_case(hosts[0])) {
        return Err(Reply::refused(403, &format!("the host must be {}", own.join(" or "))));
    }
    if !target.starts_with('/') {
        return Err(Reply::refused(400, "the address must begin with /"));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok(Request { path, query })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> u16 {
        parsed(head, 6210).map_or_else(|refusal| refusal.status, |_| 200)
    }

    #[test]
    fn only_requests_that_name_this_address_are_answered() {
        let get = |host: &str| status(&format!("GET / HTTP/1.1\r\n{host}\r\n\r\n"));
        for own in ["Host: 127.0.0.1:6210", "host:localhost:6210", "A: b\r\nHost: LOCALHOST:6210"] {
            assert_eq!(get(own), 200, "{own}");
        }
        for other in [
            "Host: evil.example:6210",
            "Host: 127.0.0.1:6211",
            "Host: 127.0.0.1",
            "Host: 127.0.0.1:6210.evil.example",
            "Host: localhost:6210\r\nHost: evil.example",
            "X: y",
        ] {
            assert_eq!(get(other), 403, "{other}");
        }
    }

    #[test]
    fn other_methods_and_what_is_no_request_are_refused() {
        let host = "Host: localhost:6210\r\n\r\n";
        assert_eq!(status(&format!("POST / HTTP/1.1\r\n{host}")), 405);
        for wrong in
            ["GET http://evil.example/ HTTP/1.1", "GET /", "", "GET / HTTP/2", "GET  / HTTP/1.1"]
        {
            assert_eq!(status(&format!("{wrong}\r\n{host}")), 400, "{wrong}");
        }
    }

    #[test]
    fn path_and_query_are_told_apart() {
        let head = "GET /summary?have=1-2 HTTP/1.1\r\nHost: localhost:1\r\n\r\n";
        let request = parsed(head, 1).unwrap_or_else(|_| panic!("refused"));
        assert_eq!(request, Request { path: "/summary", query: "have=1-2" });
    }

    #[test]
    fn replies_are_for_this_origin_alone() {
        let text = String::from_utf8(Reply::html("<p>ä".to_owned()).bytes()).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\n<p>ä"));
        assert!(text.contains("\r\nContent-Length: 5\r\n"));
        for header in ["nosniff", "DENY", "same-origin"] {
            assert!(text.contains(header), "{header}");
        }
        assert!(!text.contains("Access-Control"));
    }

    #[test]
    fn one_connection_too_many_is_told_so_and_the_place_of_one_that_ends_is_free() {
        let (listener, address) = listen(0).unwrap();
        let over = Arc::new(AtomicUsize::new(0));
        let is_over = Arc::clone(&over);
        let server = std::thread::spawn(move || {
            let goes_on = || is_over.load(Ordering::SeqCst) == 0;
            // A reply that cannot be made ends its thread alone.
            serve(&listener, goes_on, |request| match request.path {
                "/" => Reply::html(String::new()),
                path => panic!("{path}"),
            })
        });
        let asked = |path: &str| {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).unwrap();
            reply.split(' ').nth(1).unwrap_or_default().to_owned()
        };
        for _ in 0..2 * MAX_CONNECTIONS {
            assert_eq!(asked("/broken"), "");
        }
        let silent: Vec<_> =
            (0..MAX_CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert_eq!(asked("/"), "503");
        drop(silent);
        // Its threads see that within a moment.
        let is_answered = (0..200).any(|_| {
            std::thread::sleep(TICK);
            asked("/") == "200"
        });
        assert!(is_answered);
        over.store(1, Ordering::SeqCst);
        server.join().unwrap().unwrap();
    }

    #[test]
    fn port_in_use_is_named_and_zero_takes_a_free_one() {
        let (_listener, address) = listen(0).unwrap();
        assert!(address.ip().is_loopback());
        let message = listen(address.port()).unwrap_err().to_string();
        assert!(message.starts_with(&format!("port {}: ", address.port())), "{message}");
        assert!(message.contains("hint: "), "{message}");
    }
}
