//! Just enough HTTP/1.1 for a scraper, a browser and `curl`, over bytes.
//!
//! The reactor keeps what it has read of a connection and calls [`serve`] until that says
//! [`Step::NeedMore`]; a [`Step::Respond`] has the bytes to send, how many bytes of input they answer, and whether
//! the connection stays open. `httparse` takes the head apart; routes are functions from [`Request`] to [`Response`].
//!
//! # Invariants
//!
//! 1. No more than [`HEAD_MAX`] + [`BODY_MAX`] bytes of a request are ever waited for. A longer body is not read: the route
//!    answers without it, and the connection closes, because what follows on it is not a request.
//! 2. A request that cannot be understood closes its connection: its end is unknown too.

use std::fmt::Write;

/// Longest request line and headers. Jetty has the same bound.
pub const HEAD_MAX: usize = 8 * 1024;
/// Longest body that a route gets to see.
pub const BODY_MAX: usize = 64 * 1024;
/// Most header lines.
const HEADERS_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
    Options,
    /// Any other.
    Other,
}

/// A request whose head, and body if it has a small one, has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    pub method: Method,
    /// Decoded, without the query.
    pub path: String,
    /// Decoded names and values in the order of the query.
    pub query: Vec<(String, String)>,
    /// The header `Authorization`.
    pub authorization: Option<&'a str>,
    /// `None`: it is longer than [`BODY_MAX`], or its length is not known before its end.
    pub body: Option<&'a [u8]>,
}

impl Request<'_> {
    /// The first value of a query's argument.
    pub fn argument(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What a route answers; its length and the connection's fate are added by [`serve`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: Status,
    pub content_type: Option<&'static str>,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Response {
    pub fn new(status: Status, content_type: &'static str, body: String) -> Response {
        Response { status, content_type: Some(content_type), headers: Vec::new(), body }
    }

    /// A short page that says what went wrong.
    pub fn error(status: Status) -> Response {
        let (code, reason) = status.line();
        let body = format!(
            "<html><head><title>Error {code} {reason}</title></head><body><h2>HTTP ERROR {code} {reason}</h2></body></html>\n"
        );
        Response::new(status, "text/html;charset=utf-8", body)
    }

    /// 405 with the methods that are allowed.
    pub fn method_not_allowed(allow: &'static str) -> Response {
        let mut response = Response::error(Status::MethodNotAllowed);
        response.headers.push(("Allow", allow.to_string()));
        response
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Ok,
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    ContentTooLarge,
    TooManyRequests,
    HeadersTooLarge,
    InternalError,
    Unavailable,
    VersionNotSupported,
}

impl Status {
    fn line(self) -> (u16, &'static str) {
        match self {
            Status::Ok => (200, "OK"),
            Status::BadRequest => (400, "Bad Request"),
            Status::Unauthorized => (401, "Unauthorized"),
            Status::Forbidden => (403, "Forbidden"),
            Status::NotFound => (404, "Not Found"),
            Status::MethodNotAllowed => (405, "Method Not Allowed"),
            Status::ContentTooLarge => (413, "Content Too Large"),
            Status::TooManyRequests => (429, "Too Many Requests"),
            Status::HeadersTooLarge => (431, "Request Header Fields Too Large"),
            Status::InternalError => (500, "Internal Server Error"),
            Status::Unavailable => (503, "Service Unavailable"),
            Status::VersionNotSupported => (505, "HTTP Version Not Supported"),
        }
    }
}

/// What is to be done with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The request is not complete. Only a request can follow an empty input: the connection may be closed then.
    NeedMore,
    /// Send `bytes`, forget the first `consumed` bytes of input, and go on or close.
    Respond { bytes: Vec<u8>, consumed: usize, keep_alive: bool },
}

/// Answers the first request in `input` through `route`, if it is complete.
pub fn serve(input: &[u8], route: &mut dyn FnMut(&Request<'_>) -> Response) -> Step {
    match parse(input) {
        Parsed::NeedMore => Step::NeedMore,
        Parsed::Bad(status) => {
            let bytes = render(&Response::error(status), false, false);
            Step::Respond { bytes, consumed: input.len(), keep_alive: false }
        }
        Parsed::Request { request, consumed, keep_alive } => {
            let keep_alive = keep_alive && request.body.is_some();
            let bytes = render(&route(&request), keep_alive, request.method == Method::Head);
            Step::Respond { bytes, consumed, keep_alive }
        }
    }
}

enum Parsed<'a> {
    NeedMore,
    Bad(Status),
    Request { request: Request<'a>, consumed: usize, keep_alive: bool },
}

fn parse(input: &[u8]) -> Parsed<'_> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    // A longer head than allowed is cut here and so never becomes complete.
    let head_len = match head.parse(&input[..input.len().min(HEAD_MAX)]) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if input.len() < HEAD_MAX => return Parsed::NeedMore,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Parsed::Bad(Status::HeadersTooLarge);
        }
        Err(httparse::Error::Version) => return Parsed::Bad(Status::VersionNotSupported),
        Err(_) => return Parsed::Bad(Status::BadRequest),
    };
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return Parsed::Bad(Status::BadRequest);
    };

    let fields = match Fields::of(head.headers, version) {
        Ok(fields) => fields,
        Err(status) => return Parsed::Bad(status),
    };
    let body = match fields.body_len {
        Some(len) if len <= BODY_MAX => match input.get(head_len..head_len + len) {
            Some(body) => Some(body),
            None => return Parsed::NeedMore,
        },
        _ => None,
    };
    let Some((path, query)) = split_target(target) else { return Parsed::Bad(Status::BadRequest) };
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "OPTIONS" => Method::Options,
        _ => Method::Other,
    };
    Parsed::Request {
        request: Request { method, path, query, authorization: fields.authorization, body },
        consumed: body.map_or(input.len(), |body| head_len + body.len()),
        keep_alive: fields.keep_alive,
    }
}

/// What the headers say that matters here.
struct Fields<'a> {
    /// `None`: the body is chunked.
    body_len: Option<usize>,
    keep_alive: bool,
    authorization: Option<&'a str>,
}

impl<'a> Fields<'a> {
    /// `version` is the minor one: HTTP/1.0 closes unless it is asked not to.
    fn of(headers: &[httparse::Header<'a>], version: u8) -> Result<Fields<'a>, Status> {
        let mut fields = Fields { body_len: Some(0), keep_alive: version == 1, authorization: None };
        let mut length = None;
        for header in headers {
            let value = std::str::from_utf8(header.value);
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("Content-Length") {
                let digits = value.ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
                let len = digits.and_then(|v| v.parse::<usize>().ok()).ok_or(Status::BadRequest)?;
                // Two lengths that differ are how requests are smuggled past proxies.
                if length.replace(len).is_some_and(|before| before != len) {
                    return Err(Status::BadRequest);
                }
            } else if is("Transfer-Encoding") {
                fields.body_len = None;
            } else if is("Connection") {
                for token in value.unwrap_or("").split(',').map(str::trim) {
                    if token.eq_ignore_ascii_case("close") {
                        fields.keep_alive = false;
                    } else if token.eq_ignore_ascii_case("keep-alive") && version == 0 {
                        fields.keep_alive = true;
                    }
                }
            } else if is("Authorization") {
                fields.authorization = Some(value.map_err(|_| Status::BadRequest)?);
            }
        }
        match (length, fields.body_len) {
            (Some(_), None) => Err(Status::BadRequest),
            (Some(len), Some(_)) => Ok(Fields { body_len: Some(len), ..fields }),
            (None, _) => Ok(fields),
        }
    }
}

/// Path and arguments of a request's target, decoded; `None` if it is not a path in UTF-8.
fn split_target(target: &str) -> Option<(String, Vec<(String, String)>)> {
    let target = target.split('#').next().unwrap_or(target);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if !path.starts_with('/') {
        return None;
    }
    let path = decode(path, false)?;
    let mut arguments = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        arguments.push((decode(name, true)?, decode(value, true)?));
    }
    Some((path, arguments))
}

/// Undoes percent-encoding, and `+` for a blank in a query.
fn decode(text: &str, plus_is_blank: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let (&[high, low], after) = rest.split_first_chunk::<2>()?;
                let digit = |d: u8| char::from(d).to_digit(16);
                bytes.push((digit(high)? * 16 + digit(low)?) as u8);
                rest = after;
            }
            b'+' if plus_is_blank => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

/// The response's bytes. The answer to HEAD has the headers of the answer to GET, its length too, and no body.
fn render(response: &Response, keep_alive: bool, head_only: bool) -> Vec<u8> {
    let (code, reason) = response.status.line();
    let mut text = format!("HTTP/1.1 {code} {reason}\r\n");
    let mut field = |name: &str, value: &str| {
        write!(text, "{name}: {value}\r\n").expect("writing to a String cannot fail");
    };
    if let Some(content_type) = response.content_type {
        field("Content-Type", content_type);
    }
    for (name, value) in &response.headers {
        field(name, value);
    }
    field("Content-Length", &response.body.len().to_string());
    if !keep_alive {
        field("Connection", "close");
    }
    text.push_str("\r\n");
    if !head_only {
        text.push_str(&response.body);
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Answers with what it was asked.
    fn echo(request: &Request<'_>) -> Response {
        let body = request.body.map(|b| String::from_utf8_lossy(b).into_owned());
        let said = format!("{:?} {} {:?} {body:?}", request.method, request.path, request.query);
        Response::new(Status::Ok, "text/plain", said)
    }

    fn ask(input: &[u8]) -> Step {
        serve(input, &mut echo)
    }

    /// Status line and body of the answer, how much it consumed, and whether the connection stays.
    fn answered(input: &[u8]) -> (String, String, usize, bool) {
        let Step::Respond { bytes, consumed, keep_alive } = ask(input) else {
            panic!("incomplete: {}", String::from_utf8_lossy(input));
        };
        let text = String::from_utf8(bytes).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.lines().next().expect("a status line");
        assert_eq!(head.contains("Connection: close"), !keep_alive);
        (status.to_string(), body.to_string(), consumed, keep_alive)
    }

    #[test]
    fn a_request_is_answered_once_its_head_is_complete() {
        let request = b"GET /metrics?name[]=a%20b&x=1+2 HTTP/1.1\r\nHost: h\r\n\r\n";
        for cut in 0..request.len() {
            assert_eq!(ask(&request[..cut]), Step::NeedMore);
        }
        let (status, body, consumed, keep_alive) = answered(request);
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert_eq!(body, r#"Get /metrics [("name[]", "a b"), ("x", "1 2")] Some("")"#);
        assert_eq!((consumed, keep_alive), (request.len(), true));
    }

    #[test]
    fn a_second_request_in_the_same_bytes_is_left_for_the_next_call() {
        let two = b"POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /y HTTP/1.1\r\n\r\n";
        let (_, body, consumed, _) = answered(two);
        assert_eq!(body, r#"Post /x [] Some("abc")"#);
        assert_eq!(answered(&two[consumed..]).1, r#"Get /y [] Some("")"#);
    }

    #[test]
    fn a_head_answer_has_the_length_of_the_body_that_it_leaves_out() {
        let (_, body, ..) = answered(b"GET /x HTTP/1.1\r\n\r\n");
        let Step::Respond { bytes, .. } = ask(b"HEAD /x HTTP/1.1\r\n\r\n") else { panic!("incomplete") };
        let text = String::from_utf8(bytes).expect("text");
        // `Head` is a letter longer than `Get`.
        assert!(text.ends_with(&format!("Content-Length: {}\r\n\r\n", body.len() + 1)), "{text}");
    }

    #[test]
    fn connections_stay_open_as_the_versions_of_http_have_it() {
        let keeps = |head: &str| answered(format!("GET / {head}\r\n\r\n").as_bytes()).3;
        assert!(keeps("HTTP/1.1"));
        assert!(!keeps("HTTP/1.1\r\nConnection: close"));
        assert!(!keeps("HTTP/1.1\r\nConnection: x, Close"));
        assert!(!keeps("HTTP/1.0"));
        assert!(keeps("HTTP/1.0\r\nConnection: Keep-Alive"));
    }

    #[test]
    fn nonsense_is_refused_and_the_connection_closed() {
        let cases: &[(&[u8], &str)] = &[
            (b"\x16\x03\x01\x02\x00\x01\x00\x01", "400 Bad Request"),
            (b"GET /%zz HTTP/1.1\r\n\r\n", "400 Bad Request"),
            (b"GET /%ff HTTP/1.1\r\n\r\n", "400 Bad Request"),
            (b"GET http://h/x HTTP/1.1\r\n\r\n", "400 Bad Request"),
            (b"GET / HTTP/2.0\r\n\r\n", "505 HTTP Version Not Supported"),
            (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400 Bad Request"),
            (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", "400 Bad Request"),
            (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400 Bad Request"),
            (
                b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na",
                "400 Bad Request",
            ),
        ];
        for (request, status) in cases {
            let (line, _, consumed, keep_alive) = answered(request);
            assert_eq!(line, format!("HTTP/1.1 {status}"), "{}", String::from_utf8_lossy(request));
            assert_eq!((consumed, keep_alive), (request.len(), false));
        }
    }

    #[test]
    fn an_endless_head_is_refused_at_eight_kilobytes() {
        let mut request = b"GET / HTTP/1.1\r\nX: ".to_vec();
        request.resize(HEAD_MAX - 1, b'x');
        assert_eq!(ask(&request), Step::NeedMore);
        request.push(b'x');
        assert_eq!(answered(&request).0, "HTTP/1.1 431 Request Header Fields Too Large");
    }

    #[test]
    fn a_body_that_is_too_long_or_chunked_is_not_waited_for_and_ends_the_connection() {
        for header in ["Content-Length: 65537", "Transfer-Encoding: chunked"] {
            let request = format!("POST /r HTTP/1.1\r\n{header}\r\n\r\nabc");
            let (_, body, consumed, keep_alive) = answered(request.as_bytes());
            assert_eq!((body.as_str(), consumed, keep_alive), ("Post /r [] None", request.len(), false));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_answered_or_waited_for_but_never_a_panic(
            input in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            if let Step::Respond { consumed, .. } = ask(&input) {
                prop_assert!(consumed <= input.len() && consumed > 0);
            }
        }

        #[test]
        fn almost_requests_are_answered_or_waited_for_but_never_a_panic(
            method in "(GET|POST|HEAD|PUT|[A-Z]{0,3})",
            target in "[/?&=%a-z0-9\\[\\]+# ]{0,40}",
            headers in "((Content-Length|Connection|Transfer-Encoding|X): ?[a-z0-9,-]{0,12}\r\n){0,4}",
            body in "[a-z]{0,20}",
        ) {
            let text = format!("{method} {target} HTTP/1.1\r\n{headers}\r\n{body}");
            if let Step::Respond { consumed, .. } = ask(text.as_bytes()) {
                prop_assert!(consumed <= text.len() && consumed > 0);
            }
        }
    }
}
