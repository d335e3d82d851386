//! Values that must not be read over a shoulder: a [`Secret`] has no way into a log line but
//! [`Secret::expose`], and what stands for it in print is made when it is made.

use std::borrow::Cow;
use std::fmt;

/// What is printed in place of a secret.
const MASK: &str = "***";

/// A text that is never printed or serialised in clear.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    hidden: String,
    shown: Cow<'static, str>,
}

impl Secret {
    /// A secret that prints as `***`.
    pub fn new(hidden: impl Into<String>) -> Self {
        Self { hidden: hidden.into(), shown: Cow::Borrowed(MASK) }
    }

    /// A URL that prints with its password masked: `postgres://user:***@host/db`.
    pub fn url(hidden: impl Into<String>) -> Self {
        let hidden = hidden.into();
        let shown = Cow::Owned(mask_url(&hidden));
        Self { hidden, shown }
    }

    /// The secret itself, for the connection that needs it and nobody else.
    pub fn expose(&self) -> &str {
        &self.hidden
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Whether a librdkafka property of this name holds a secret.
pub(super) fn is_secret_property(name: &str) -> bool {
    const PARTS: [&str; 6] = ["password", "passphrase", "secret", "token", "key.pem", "jaas"];
    PARTS.iter().any(|part| name.contains(part)) || name == "sasl.oauthbearer.config"
}

/// Masks the password of a URL, wherever it may stand. A password with unescaped `@`, `/` or `?`
/// makes a URL ambiguous; then rather too much is masked than too little.
pub(super) fn mask_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        // Not a URL: `host=.. password=..`, or a password in the wrong place.
        return MASK.to_owned();
    };
    let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(l, r)| (Some(l), r));
    let login = login.map(|login| match login.split_once(':') {
        Some((user, _)) => format!("{user}:{MASK}@"),
        None => format!("{login}@"),
    });
    let (place, query) = rest.split_once('?').map_or((rest, None), |(p, q)| (p, Some(q)));
    let query = query.map(|query| {
        let params: Vec<_> = query.split('&').map(mask_parameter).collect();
        format!("?{}", params.join("&"))
    });
    format!("{scheme}://{}{place}{}", login.unwrap_or_default(), query.unwrap_or_default())
}

/// Masks `password=..` and its kin (`sslpassword=..`) among a URL's parameters.
fn mask_parameter(parameter: &str) -> Cow<'_, str> {
    match parameter.split_once('=') {
        Some((name, _)) if name.to_ascii_lowercase().contains("pass") => {
            Cow::Owned(format!("{name}={MASK}"))
        }
        _ => Cow::Borrowed(parameter),
    }
}

/// Whether a URL brings a password of its own, in its login or among its parameters.
pub(super) fn has_password(url: &str) -> bool {
    mask_url(url).contains(MASK)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_prints_as_stars() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_url_prints_without_its_password() {
        let cases = [
            ("postgres://user:pw@host/db", "postgres://user:***@host/db"),
            ("postgres://user@host:5432/db", "postgres://user@host:5432/db"),
            ("postgres://host/db?sslmode=require", "postgres://host/db?sslmode=require"),
            ("postgres://u:p@ss/w?rd@host/db", "postgres://u:***@host/db"),
            (
                "postgres://h1:1,h2:2/db?user=u&password=pw",
                "postgres://h1:1,h2:2/db?user=u&password=***",
            ),
            ("host=localhost password=pw", "***"),
        ];
        for (url, shown) in cases {
            assert_eq!(Secret::url(url).to_string(), shown);
        }
        assert!(has_password("postgres://u:pw@h/d") && has_password("postgres://h/d?password=pw"));
        assert!(!has_password("postgres://u@h:5432/d?sslmode=disable"));
    }

    #[test]
    fn secret_properties_are_known_by_name() {
        let secret =
            ["sasl.password", "ssl.key.pem", "ssl.key.password", "sasl.oauthbearer.config"];
        assert!(secret.iter().all(|name| is_secret_property(name)));
        assert!(!is_secret_property("sasl.username") && !is_secret_property("ssl.key.location"));
    }

    proptest! {
        #[test]
        fn no_password_survives_masking(password in "[!-~]{1,20}") {
            let marked = format!("<<{password}>>");
            let shown = mask_url(&format!("postgres://user:{marked}@host/db"));
            prop_assert!(!shown.contains(&marked) && shown.ends_with("@host/db"));
        }
    }
}
