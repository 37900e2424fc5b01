//! `tls` of a listener. The files are read here, so that a broken pair is an error of the
//! configuration.

use core::net::IpAddr;
use std::collections::HashSet;
use std::path::PathBuf;

use crate::limits::{ACME_NAMES_MAX, ACME_TEXT_BYTES_MAX, CERTIFICATES_MAX};
use crate::sort::sort;
use crate::transport::server::{
    CertificateFiles, ClientAuth, Part, ServerTls, TlsFiles, TlsVersion,
};

use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::syntax::source::Source;
use crate::config::syntax::stray::Fault;
use crate::config::values::host;

const CLIENT_AUTHS: [(&str, ClientAuth); 2] = [
    ("required", ClientAuth::Required),
    ("optional", ClientAuth::Optional),
];
const VERSIONS: [(&str, TlsVersion); 2] = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];

/// Pair of files, and the places that name them.
struct Pair<'a> {
    files: CertificateFiles,
    cert: Located<'a>,
    key: Located<'a>,
}

pub(crate) fn compile(
    place: &Located<'_>,
    source: &Source<'_>,
    report: &mut Report<'_>,
) -> Option<TlsFiles> {
    let object = place.object(report)?;
    let min_version = match object.get("minVersion").filter(|place| !place.is_null()) {
        Some(place) => place.choice(report, &VERSIONS),
        None => Some(TlsVersion::Tls12),
    };
    let ca_place = object.get("clientCa").filter(|place| !place.is_null());
    let client_ca = match ca_place {
        Some(place) => path(place, source, report).map(Some),
        None => Some(None),
    };
    let client_auth = client_auth(&object, ca_place.is_some(), report);
    let acme = object.get("acme").filter(|place| !place.is_null());
    let ordered = acme.map(|place| ordered(place, report));
    let pairs = match object.get("certificates") {
        Some(place) => pairs(place, source, report),
        None if acme.is_some() => Some(Vec::new()),
        None => {
            place.fail(
                report,
                r#""certificates" is missing; add a pair such as { "cert": "site.pem", "key": "site.key" }"#,
            );
            None
        }
    };
    let (min_version, client_ca, pairs) = (min_version?, client_ca?, pairs?);
    let certificates = pairs.iter().map(|pair| pair.files.clone()).collect();
    let (ordered, contact) = ordered.unwrap_or_default();
    let files = TlsFiles {
        certificates,
        ordered,
        contact,
        min_version,
        client_ca,
        client_auth,
    };
    if let Err(faults) = ServerTls::load(&files, source.read) {
        let mut told = HashSet::new();
        for fault in faults {
            let at = match fault.part {
                Part::Certificate(index) => pairs.get(index).map(|pair| &pair.cert),
                Part::Key(index) => pairs.get(index).map(|pair| &pair.key),
                Part::ClientCa => ca_place,
                Part::Whole => None,
            };
            // One line, whatever the file is called.
            let message = format!("{:?}: {}", fault.path.display().to_string(), fault.message);
            if told.insert((at.map(|place| place.node.at), message.clone())) {
                at.unwrap_or(place).fail_bare(report, message);
            }
        }
        return None;
    }
    Some(files)
}

/// Reads `acme`: the names, sorted, and the contact.
fn ordered(place: &Located<'_>, report: &mut Report<'_>) -> (Vec<String>, Option<String>) {
    let Some(object) = place.object(report) else {
        return (Vec::new(), None);
    };
    let mut names = Vec::new();
    match object.get("names") {
        None => place.fail_bare(
            report,
            r#""names" is missing; add the names of the certificate, such as ["api.example.com"]"#,
        ),
        Some(place) => {
            let items = place.list(report);
            if items.as_ref().is_some_and(Vec::is_empty) {
                place.fail(
                    report,
                    "is empty; name at least one, such as [\"api.example.com\"]",
                );
            }
            let items = items.unwrap_or_default();
            if items.len() > ACME_NAMES_MAX {
                let count = items.len();
                place.fail(
                    report,
                    format!("has {count} names; a certificate has at most {ACME_NAMES_MAX}"),
                );
            }
            for item in &items {
                names.extend(ordered_name(item, report));
            }
        }
    }
    sort(&mut names);
    names.dedup();
    let contact = object.get("email").filter(|place| !place.is_null());
    (names, contact.and_then(|place| contact_of(place, report)))
}

/// Reads a name or an address that a certificate is ordered for. Returns it in the form that
/// certificates have.
fn ordered_name(place: &Located<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = place.text(report)?;
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(text).parse::<IpAddr>() {
        return Some(address.to_canonical().to_string());
    }
    if text.contains('*') {
        place.fail(
            report,
            "has a wildcard, which is proven by records in the DNS (DNS-01) alone; let a client such as lego, acme.sh or \
             certbot order it, and put its files into \"certificates\", which are read again when they change",
        );
        return None;
    }
    match host::parse(text) {
        Ok(_) => Some(text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()),
        Err(message) => {
            let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
            let bare = bare.split([':', '/']).next().unwrap_or_default();
            match host::parse(bare) {
                Ok(_) if bare != text => {
                    place.fail(report, format!("is more than a name; write {bare:?}"));
                }
                _ => place.fail(report, message),
            }
            None
        }
    }
}

/// Reads `email`.
fn contact_of(place: &Located<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = place.text(report)?;
    let parts = text.split_once('@');
    let is_whole = parts.is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    let is_plain =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b',' | b'?');
    if !is_whole || text.len() > ACME_TEXT_BYTES_MAX || !text.bytes().all(is_plain) {
        place.fail(
            report,
            Fault::uncured("must be one address such as \"ops@example.com\""),
        );
        return None;
    }
    Some(text.to_owned())
}

/// Reads `clientAuth`.
fn client_auth(object: &Object<'_>, has_ca: bool, report: &mut Report<'_>) -> ClientAuth {
    let Some(place) = object.get("clientAuth") else {
        return ClientAuth::default();
    };
    if !has_ca {
        place.fail_bare(
            report,
            "says which clients need a certificate, and nothing says who signs them; add \"clientCa\", or remove this",
        );
    }
    place.choice(report, &CLIENT_AUTHS).unwrap_or_default()
}

fn pairs<'a>(
    place: &Located<'a>,
    source: &Source<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<Pair<'a>>> {
    let items = place.list(report)?;
    if items.is_empty() {
        place.fail(
            report,
            r#"is empty; add a pair such as { "cert": "site.pem", "key": "site.key" }"#,
        );
    }
    if items.len() > CERTIFICATES_MAX {
        place.fail(
            report,
            format!(
                "has {} certificates; at most {CERTIFICATES_MAX} can stand here",
                items.len()
            ),
        );
        return None;
    }
    let pairs = items
        .iter()
        .map(|item| pair(item, source, report))
        .collect::<Vec<_>>();
    pairs
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .filter(|pairs| !pairs.is_empty())
}

fn pair<'a>(place: &Located<'a>, source: &Source<'_>, report: &mut Report<'_>) -> Option<Pair<'a>> {
    let object = place.object(report)?;
    let mut part = |name: &str, what: &str| match object.get(name) {
        Some(place) => path(place, source, report).map(|path| (place.clone(), path)),
        None => {
            place.fail(
                report,
                format!("{name:?} is missing; add the path of {what}"),
            );
            None
        }
    };
    let cert = part("cert", "the certificate (PEM), such as \"site.pem\"");
    let key = part("key", "its private key (PEM), such as \"site.key\"");
    let ((cert, certificate), (key_place, key)) = (cert?, key?);
    Some(Pair {
        files: CertificateFiles { certificate, key },
        cert,
        key: key_place,
    })
}

fn path(place: &Located<'_>, source: &Source<'_>, report: &mut Report<'_>) -> Option<PathBuf> {
    let text = place.text(report)?;
    if text.is_empty() {
        place.fail(report, "is empty; name a PEM file");
        return None;
    }
    Some(source.folder.join(text))
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ListenKind, load};
    use rcgen::{CertificateParams, KeyPair};
    use std::path::Path;

    /// Loads a configuration with these listeners, in a folder with two pairs of files.
    fn load_listen(listen: &str) -> Result<Config, Vec<String>> {
        let text =
            format!(r#"{{"listen":{listen},"services":[{{"route":"/","target":"http://b"}}]}}"#);
        let pair = || {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(vec!["a.test".to_owned()]).expect("a name");
            (
                params.self_signed(&key).expect("signed").pem(),
                key.serialize_pem(),
            )
        };
        let (a, b) = (pair(), pair());
        let read = |path: &Path| match path.to_str() {
            Some("/etc/tg/a.pem") => Ok(a.0.clone().into_bytes()),
            Some("/etc/tg/a.key") => Ok(a.1.clone().into_bytes()),
            Some("/etc/tg/b.key") => Ok(b.1.clone().into_bytes()),
            Some("/etc/tg/text") => Ok(b"hello".to_vec()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        };
        load(text.as_bytes(), "/etc/tg/f.json", &|_| None, &read).map_err(|errors| {
            errors
                .iter()
                .map(|error| format!("{}: {}", error.path, error.message))
                .collect()
        })
    }

    fn with_tls(tls: &str) -> Result<Config, Vec<String>> {
        load_listen(&format!(r#"[{{"address":"127.0.0.1:1","tls":{tls}}}]"#))
    }

    #[test]
    fn listeners_of_every_kind() {
        let config = load_listen(
            r#"["0.0.0.0:1", {"address":"0.0.0.0:2","tls":{"certificates":[{"cert":"a.pem","key":"a.key"}],"minVersion":"1.3","clientCa":"a.pem"}},
                {"address":"0.0.0.0:3","redirectToHttps":true}, {"address":4,"tls":null,"redirectToHttps":false}]"#,
        );
        let kinds = config
            .expect("good")
            .listeners
            .into_iter()
            .map(|listen| match listen.kind {
                ListenKind::Plain => "plain",
                ListenKind::Tls(_) => "tls",
                ListenKind::Redirect => "redirect",
            });
        assert_eq!(
            kinds.collect::<Vec<_>>(),
            ["plain", "tls", "redirect", "plain"]
        );
    }

    #[test]
    fn every_mistake_has_its_line() {
        const PAIR: &str = r#"{"cert":"a.pem","key":"a.key"}"#;
        for (tls, expected) in [
            (
                "true",
                &[
                    "must be an object such as { \"certificates\": [{ \"cert\": \"site.pem\", \"key\": \"site.key\" }] }, not true",
                ][..],
            ),
            ("{}", &["\"certificates\" is missing; add a pair"]),
            (
                r#"{"certificates":[]}"#,
                &["certificates: is empty; add a pair"],
            ),
            (
                r#"{"certificates":[{}]}"#,
                &[
                    "certificates[0]: \"cert\" is missing",
                    "certificates[0]: \"key\" is missing",
                ],
            ),
            (
                r#"{"certificates":[{"cert":"none","key":"a.key"}]}"#,
                &["certificates[0].cert: \"/etc/tg/none\": cannot be read"],
            ),
            (
                r#"{"certificates":[{"cert":"text","key":"text"}]}"#,
                &[
                    "certificates[0].cert: \"/etc/tg/text\": no certificate inside",
                    "certificates[0].key: \"/etc/tg/text\": no private key inside",
                ],
            ),
            (
                r#"{"certificates":[{"cert":"a.pem","key":"b.key"}]}"#,
                &[
                    "certificates[0].key: \"/etc/tg/b.key\": is not the key of the certificate in /etc/tg/a.pem",
                ],
            ),
            (
                &format!(r#"{{"certificates":[{PAIR}],"minVersion":"1.1"}}"#),
                &["minVersion: \"1.1\" must be one of \"1.2\", \"1.3\""],
            ),
            (
                &format!(r#"{{"certificates":[{PAIR}],"minVersion":1.2}}"#),
                &["minVersion: 1.2 must be one of \"1.2\", \"1.3\", not a number"],
            ),
            (
                &format!(r#"{{"certificates":[{PAIR}],"clientCa":"text"}}"#),
                &["clientCa: \"/etc/tg/text\": no certificate inside"],
            ),
            (
                &format!(r#"{{"certificates":[{PAIR}],"clientCa":""}}"#),
                &["clientCa: \"\" is empty; name a PEM file"],
            ),
            (
                &format!(r#"{{"certificates":[{PAIR}],"clientAuth":"optional"}}"#),
                &[
                    "clientAuth: says which clients need a certificate, and nothing says who signs them; add \"clientCa\"",
                ],
            ),
            (
                &format!(r#"{{"certificates":[{PAIR}],"clientCa":"a.pem","clientAuth":"maybe"}}"#),
                &["clientAuth: \"maybe\" must be one of \"required\", \"optional\""],
            ),
            (
                &format!(r#"{{"certificates":[{PAIR}],"cifers":"x"}}"#),
                &[
                    "cifers: unknown key; the keys here are certificates, acme, minVersion, clientCa, clientAuth",
                ],
            ),
        ] {
            let found = with_tls(tls).expect_err(tls);
            assert_eq!(found.len(), expected.len(), "{tls}: {found:?}");
            for (line, start) in found.iter().zip(expected) {
                let line = line.strip_prefix("listen[0].tls").expect("its place");
                assert!(
                    line.trim_start_matches(['.', ':', ' ']).starts_with(start),
                    "{tls}: {line}"
                );
            }
        }
        for (listen, expected) in [
            (
                r#"{"redirectToHttps":true}"#,
                "listen: \"address\" is missing",
            ),
            (
                r#"{"address":"0.0.0.0:1","redirectToHttps":true}"#,
                "listen: redirects to https, but no address in \"listen\" has \"tls\"",
            ),
            (
                r#"{"address":"0.0.0.0:1","adress":1}"#,
                "listen.adress: unknown key, did you mean \"address\"?",
            ),
            (
                r#"[{"address":"0.0.0.0:1","tls":{}},{"address":"0.0.0.0:2","redirectToHttps":true}]"#,
                "listen[0].tls: \"certificates\" is missing",
            ),
            (
                r#"{"address":"0.0.0.0:1","redirectToHttps":true,"tls":{"certificates":[{"cert":"a.pem","key":"a.key"}]}}"#,
                "listen.tls: a listener that redirects to https speaks plain HTTP",
            ),
        ] {
            let found = load_listen(listen).expect_err(listen);
            assert!(
                found.len() == 1 && found[0].starts_with(expected),
                "{found:?}"
            );
        }
    }
}
