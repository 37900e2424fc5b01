//! PEM files (RFC 7468) of the operator: their blocks, and advice if the wanted block is missing.
//!
//! Only the outer form and the kind of a key are examined. A slip that would hide a block from a
//! reader is an error: if a certificate of a chain were skipped silently, only clients would
//! notice.

mod kind;

pub use self::kind::{KeyKind, private_key_kind, public_key_kind};

/// Block of a PEM file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block<'a> {
    /// Label, such as `CERTIFICATE`.
    pub label: &'a str,
    /// Number of its first line, from 1.
    pub line: usize,
    /// The block is encrypted as in RFC 1421 4.6.1.1, with header lines before the base64.
    pub encrypted: bool,
    /// Base64 and white space.
    pub body: &'a [u8],
}

/// Kind of block that a file must contain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// Certificate, or several.
    Certificate,
    /// Private key that is not encrypted.
    PrivateKey,
    /// Public key, alone or in a certificate.
    PublicKey,
}

impl Wanted {
    /// Returns true if a block with this label is of the wanted kind.
    pub fn takes(self, label: &str) -> bool {
        match self {
            Wanted::Certificate => label == "CERTIFICATE",
            Wanted::PrivateKey => {
                matches!(label, "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY")
            }
            Wanted::PublicKey => matches!(label, "PUBLIC KEY" | "RSA PUBLIC KEY" | "CERTIFICATE"),
        }
    }

    /// Returns the word for messages, and the usual label.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Wanted::Certificate => ("certificate", "CERTIFICATE"),
            Wanted::PrivateKey => ("private key", "PRIVATE KEY"),
            Wanted::PublicKey => ("public key", "PUBLIC KEY"),
        }
    }
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Returns the blocks of the wanted kind; others are skipped.
///
/// # Errors
/// The file has no such block, or a slip that could hide one. The text names the slip and gives
/// advice, and contains no byte of a key.
pub fn blocks(file: &[u8], wanted: Wanted) -> Result<Vec<Block<'_>>, String> {
    if let Some(what) = other_format(file) {
        return Err(what.to_owned());
    }
    let all = all_blocks(file)?;
    if let Some(first) = all
        .iter()
        .find(|block| wanted.takes(block.label) || hides(block, wanted))
        && let Some(message) = unusable(first, wanted)
    {
        return Err(message);
    }
    let found = all
        .iter()
        .filter(|block| wanted.takes(block.label))
        .cloned()
        .collect::<Vec<_>>();
    if found.is_empty() {
        Err(instead(&all, file, wanted))
    } else {
        Ok(found)
    }
}

/// Returns true if a block is of the wanted kind, but in a form that cannot be read.
fn hides(block: &Block<'_>, wanted: Wanted) -> bool {
    wanted != Wanted::Certificate && block.label.ends_with("PRIVATE KEY")
}

fn unusable(block: &Block<'_>, wanted: Wanted) -> Option<String> {
    Some(match block.label {
        _ if wanted == Wanted::Certificate => return None,
        label if wanted == Wanted::PublicKey => {
            if !label.ends_with("PRIVATE KEY") {
                return None;
            }
            "holds a private key, which a gateway must not have; name the file of the public key \
             (openssl pkey -in KEY -pubout)"
                .to_owned()
        }
        "ENCRYPTED PRIVATE KEY" => "the key is encrypted; decrypt it (openssl pkey -in KEY -out PLAIN)".to_owned(),
        _ if block.encrypted => "the key is encrypted, in the old way (\"Proc-Type: 4,ENCRYPTED\"); decrypt it \
             (openssl pkey -in KEY -out PLAIN)"
            .to_owned(),
        "OPENSSH PRIVATE KEY" => {
            "the key is in the form of OpenSSH; convert a copy of it (ssh-keygen -p -m PKCS8 -f COPY)".to_owned()
        }
        label if wanted.takes(label) => return None,
        "DSA PRIVATE KEY" => KeyKind::Dsa.unusable_for_tls(),
        label => format!(
            "the key is in a block {label:?}, which cannot be read; convert it (openssl pkey -in KEY -out PLAIN)"
        ),
    })
}

/// Returns the name of a file format that is not PEM.
fn other_format(file: &[u8]) -> Option<&'static str> {
    match file {
        _ if file.trim_ascii().is_empty() => Some("is empty"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'-', 0, ..] | [0, b'-', ..] => {
            Some("is UTF-16, which hides every block; save it as UTF-8 without a byte order mark")
        }
        [0xfe, 0xed, 0xfe, 0xed, ..] => Some(
            "is a Java key store, not PEM; convert it (keytool -importkeystore -deststoretype PKCS12, then openssl pkcs12)",
        ),
        [0x30, 0x80..=0x84, ..] => {
            let mut rest = file;
            let version = crate::der::take(&mut rest, crate::der::SEQUENCE)
                .and_then(|mut inside| crate::der::take(&mut inside, crate::der::INTEGER));
            // RFC 7292 4: the version of a PFX is 3.
            Some(match version {
                Some([3]) => {
                    "is PKCS #12 (.p12, .pfx), not PEM; convert it (openssl pkcs12 -in FILE -nodes -out PEM): \
                     one file of PEM can be both certificate and key"
                }
                _ => {
                    "is DER, not PEM; convert it (openssl x509 -inform DER -in FILE -out PEM; \
                     a private key: openssl pkey -inform DER -in FILE -out PEM)"
                }
            })
        }
        _ => None,
    }
}

/// Returns every block, in order.
fn all_blocks(file: &[u8]) -> Result<Vec<Block<'_>>, String> {
    let mut found = Vec::new();
    let mut open: Option<(&str, usize, usize)> = None;
    for (number, start, line) in lines(file) {
        let text = line.trim_ascii();
        let (bare, marked) = match text.strip_prefix(BYTE_ORDER_MARK) {
            Some(bare) => (bare.trim_ascii_start(), true),
            None => (text, false),
        };
        let is_begin = bare.starts_with(BEGIN);
        if !is_begin && !bare.starts_with(END) {
            continue;
        }
        if marked {
            return Err(format!(
                "has a byte order mark in line {number}, which hides the block that begins there; save it as UTF-8 without one"
            ));
        }
        if !line.starts_with(DASHES) {
            return Err(format!(
                "line {number} is indented, which hides its block; remove the spaces before {}",
                shown(bare)
            ));
        }
        let Some(label) = label(bare, if is_begin { BEGIN } else { END }) else {
            return Err(misplaced(bare, number));
        };
        match (open.take(), is_begin) {
            (None, true) => open = Some((label, number, start.saturating_add(line.len()))),
            (Some((label, line, body)), false)
                if bare
                    .get(END.len()..)
                    .is_some_and(|rest| rest.starts_with(label.as_bytes())) =>
            {
                let body = file.get(body..start).unwrap_or_default();
                let (headers, body) = headers(body);
                let encrypted = headers
                    .windows(ENCRYPTED.len())
                    .any(|window| window == ENCRYPTED);
                found.push(Block {
                    label,
                    line,
                    encrypted,
                    body,
                });
            }
            (Some((label, line, _)), _) => return Err(unfinished(label, line)),
            // An END line without BEGIN hides nothing.
            (None, false) => {}
        }
    }
    match open {
        Some((label, line, _)) => Err(unfinished(label, line)),
        None => Ok(found),
    }
}

const ENCRYPTED: &[u8] = b"ENCRYPTED";

fn unfinished(label: &str, line: usize) -> String {
    format!(
        "the block {label:?} that begins in line {line} has no line -----END {label}-----; copy the file again, whole"
    )
}

/// Describes a marker that shares its line with other text.
fn misplaced(text: &[u8], number: usize) -> String {
    if text.windows(2).any(|window| window == b"\\n") {
        return format!(
            "line {number} has \"\\n\" written out where a line must break; write line breaks"
        );
    }
    format!(
        "line {number} has more than {} in it, which hides a block; break the line there",
        shown(text)
    )
}

/// Returns the recognisable start of a marker.
fn shown(text: &[u8]) -> &'static str {
    if text.starts_with(BEGIN) {
        "-----BEGIN ...-----"
    } else {
        "-----END ...-----"
    }
}

/// Returns the label of a line that is only a marker.
fn label<'a>(text: &'a [u8], marker: &[u8]) -> Option<&'a str> {
    let label = text.strip_prefix(marker)?.strip_suffix(DASHES)?;
    core::str::from_utf8(label)
        .ok()
        .filter(|label| !label.contains("-----"))
}

/// Splits a body into the header lines of RFC 1421 and the base64.
fn headers(body: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    for (_, start, line) in lines(body) {
        let is_header = line.contains(&b':') || (end > 0 && line.starts_with(b" "));
        if is_header {
            end = start.saturating_add(line.len());
        } else if !line.trim_ascii().is_empty() {
            break;
        }
    }
    body.split_at_checked(end).unwrap_or((&[], body))
}

/// Returns the lines of a file with their numbers (from 1) and the offsets of their first bytes. A
/// line ends with CR, LF or both.
fn lines(file: &[u8]) -> impl Iterator<Item = (usize, usize, &[u8])> {
    let mut number: usize = 1;
    let mut at: usize = 0;
    let mut after_cr = false;
    core::iter::from_fn(move || {
        loop {
            let rest = file.get(at..).filter(|rest| !rest.is_empty())?;
            let length = rest
                .iter()
                .position(|byte| matches!(byte, b'\n' | b'\r'))
                .unwrap_or(rest.len());
            let ended_by = rest.get(length).copied();
            let start = at;
            at = at.saturating_add(length).saturating_add(1);
            // The LF of a CR LF does not end another line.
            let is_rest_of_break =
                core::mem::replace(&mut after_cr, ended_by == Some(b'\r')) && length == 0;
            if is_rest_of_break && ended_by == Some(b'\n') {
                continue;
            }
            let line = (number, start, rest.get(..length).unwrap_or_default());
            number = number.saturating_add(1);
            return Some(line);
        }
    })
}

/// Describes what a file contains instead of the wanted block, with advice.
fn instead(all: &[Block<'_>], file: &[u8], wanted: Wanted) -> String {
    let (name, usual) = wanted.words();
    let nothing = format!("no {name} inside (a PEM file with -----BEGIN {usual}----- is expected)");
    let Some(block) = all.first() else {
        let line = lines(file)
            .find(|(_, _, line)| line.windows(BEGIN.len()).any(|window| window == BEGIN));
        return match (line, file) {
            (Some((number, _, text)), _) if text.windows(2).any(|window| window == b"\\n") => {
                misplaced(text, number)
            }
            (Some((number, ..)), _) => {
                format!(
                    "{nothing}; line {number} has -----BEGIN behind other text: it must be at the start of a line"
                )
            }
            (None, [b's', b's', b'h', b'-', ..] | [b'e', b'c', b'd', b's', b'a', b'-', ..]) => {
                format!(
                    "{nothing}; it is a key in the form of OpenSSH: convert it (ssh-keygen -e -m PKCS8 -f FILE)"
                )
            }
            (None, _) => nothing,
        };
    };
    let label = block.label;
    let instead = match (wanted, label) {
        (Wanted::Certificate, _) if label.ends_with("PRIVATE KEY") => {
            "a private key; name the file of its certificate here".to_owned()
        }
        (_, "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") => {
            "a request for a certificate (CSR); name the certificate that the authority made of it"
                .to_owned()
        }
        (_, "TRUSTED CERTIFICATE") => {
            "a certificate in a form of OpenSSL's own; convert it (openssl x509 -in FILE -out PEM)"
                .to_owned()
        }
        (_, "PKCS7" | "CMS") => {
            "PKCS #7; convert it (openssl pkcs7 -print_certs -in FILE -out PEM)".to_owned()
        }
        (_, "X509 CRL") => "a revocation list; name a certificate".to_owned(),
        (_, "EC PARAMETERS" | "DH PARAMETERS" | "DSA PARAMETERS") => {
            "parameters alone; name the file of the key that was made with them".to_owned()
        }
        (Wanted::PrivateKey, "CERTIFICATE") => {
            "a certificate; name the file of its private key here".to_owned()
        }
        (Wanted::PrivateKey, "PUBLIC KEY" | "RSA PUBLIC KEY") => {
            "a public key; name the file of the private key that belongs to it".to_owned()
        }
        (Wanted::Certificate, "PUBLIC KEY" | "RSA PUBLIC KEY") => {
            "a public key alone; name the file of its certificate".to_owned()
        }
        (_, label) => format!("a block {label:?}"),
    };
    format!("{nothing}; it has {instead}")
}

#[cfg(test)]
mod tests;
