//! What the environment says about the hub, read as Python's `huggingface_hub` reads it.
//! Not here: what is done with it (`client`, `folder`).

use std::env;
use std::fmt::{Debug, Formatter};
use std::path::PathBuf;
use std::time::Duration;

use super::client::Patience;

/// Where files come from, where they are kept, and the token that requests carry.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The folder that holds `models--*` and `datasets--*`.
    pub(crate) cache: PathBuf,
    /// The folder of what programs keep themselves, each in a folder of its own.
    pub(crate) assets: PathBuf,
    /// The hub's address, without a slash at its end.
    pub(crate) endpoint: String,
    pub(crate) token: Option<Token>,
    /// `user:password` of the hub's address, sent where there is no token.
    pub(crate) password: Option<Token>,
    /// Whether nothing may be fetched.
    pub(crate) is_offline: bool,
    pub(crate) patience: Patience,
}

/// The token for private and gated repositories, or a password; never printed.
#[derive(Clone)]
pub(crate) struct Token(pub(crate) String);

impl Debug for Token {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Settings {
    /// Reads this process's environment.
    pub(crate) fn from_env() -> Self {
        Self::from_variables(|name| env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let path = |name| variable(name).map(PathBuf::from);
        let home = path("HF_HOME").unwrap_or_else(|| {
            let user = || env::home_dir().unwrap_or_default().join(".cache");
            path("XDG_CACHE_HOME").unwrap_or_else(user).join("huggingface")
        });
        let stored = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let token = variable("HF_TOKEN").or_else(|| std::fs::read_to_string(stored).ok());
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        let endpoint = variable("HF_ENDPOINT").unwrap_or("https://huggingface.co".to_owned());
        let (endpoint, password) = without_password(endpoint.trim_end_matches('/'));
        Self {
            assets: path("HF_ASSETS_CACHE").unwrap_or_else(|| home.join("assets")),
            cache: path("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub")),
            endpoint,
            token: token.map(Token),
            password,
            is_offline: variable("HF_HUB_OFFLINE").is_some_and(|value| {
                ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str())
            }),
            patience: Patience { n_tries: 5, first_delay: Duration::from_millis(500) },
        }
    }
}

/// An address without `user:password@`, which would otherwise stand in every message, and what that was.
fn without_password(address: &str) -> (String, Option<Token>) {
    let host = address.find("://").map_or(0, |scheme| scheme + "://".len());
    let end = address[host..].find('/').map_or(address.len(), |path| host + path);
    match address[host..end].rsplit_once('@') {
        Some((user, name)) => {
            let bare = format!("{}{name}{}", &address[..host], &address[end..]);
            (bare, Some(Token(percent_decoded(user))))
        }
        None => (address.to_owned(), None),
    }
}

/// A text of an address as it is without percent signs; a sign that encodes nothing stays.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|code| u8::from_str_radix(str::from_utf8(code).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        Settings::from_variables(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn variables_move_the_cache_as_they_move_pythons() {
        let cache = |variables: &[(&str, &str)]| settings(variables).cache;
        assert!(cache(&[("HF_HOME", "")]).ends_with(".cache/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), PathBuf::from("/x/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/h")]), PathBuf::from("/h/hub"));
        assert_eq!(cache(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c")]), PathBuf::from("/c"));
        let assets = |variables: &[(&str, &str)]| settings(variables).assets;
        assert_eq!(
            assets(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c")]),
            PathBuf::from("/h/assets")
        );
        assert_eq!(assets(&[("HF_HOME", "/h"), ("HF_ASSETS_CACHE", "/a")]), PathBuf::from("/a"));
    }

    #[test]
    fn stored_token_is_used_unless_one_is_given_and_never_shown() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "hf_stored\n").unwrap();
        let home = ("HF_HOME", home.path().to_str().unwrap());
        assert_eq!(settings(&[home]).token.unwrap().0, "hf_stored");
        let given = settings(&[home, ("HF_TOKEN", " hf_given ")]);
        assert!(!format!("{given:?}").contains("hf_given"));
        assert_eq!(given.token.unwrap().0, "hf_given");
    }

    #[test]
    fn password_in_the_endpoint_is_kept_apart_and_never_shown() {
        let named = |endpoint| {
            let settings = settings(&[("HF_ENDPOINT", endpoint)]);
            assert!(!format!("{settings:?}").contains("s@cret"));
            (settings.endpoint, settings.password.map(|password| password.0))
        };
        let secret = Some("me:s@cret".to_owned());
        assert_eq!(
            named("https://me:s%40cret@host:8080/hf/"),
            ("https://host:8080/hf".into(), secret.clone())
        );
        assert_eq!(named("http://me:s@cret@host"), ("http://host".into(), secret));
        assert_eq!(named("https://host/a@b"), ("https://host/a@b".into(), None));
    }

    #[test]
    fn endpoint_and_offline_are_read_as_python_reads_them() {
        let plain = settings(&[]);
        assert_eq!((&*plain.endpoint, plain.is_offline), ("https://huggingface.co", false));
        let mirror = settings(&[("HF_ENDPOINT", "http://mirror/"), ("HF_HUB_OFFLINE", "true")]);
        assert_eq!((&*mirror.endpoint, mirror.is_offline), ("http://mirror", true));
        assert!(!settings(&[("HF_HUB_OFFLINE", "0")]).is_offline);
    }
}
