//! PEM files as operators have them: the blocks found, and the messages for the rest.

use super::*;
use Wanted::{Certificate, PrivateKey, PublicKey};

fn block(label: &str) -> String {
    format!("-----BEGIN {label}-----\nAAAA\nAAAA\n-----END {label}-----\n")
}

fn labels(file: &str, wanted: Wanted) -> String {
    let found =
        blocks(file.as_bytes(), wanted).unwrap_or_else(|message| panic!("{file}: {message}"));
    found
        .iter()
        .map(|block| format!("{}@{}", block.label, block.line))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn blocks_and_their_lines() {
    let cert = block("CERTIFICATE");
    let key = block("PRIVATE KEY");
    for (file, wanted, found) in [
        (
            format!("{cert}{cert}"),
            Certificate,
            "CERTIFICATE@1 CERTIFICATE@5",
        ),
        (
            format!("subject=a\n\n{cert}{key}text\n{cert}"),
            Certificate,
            "CERTIFICATE@3 CERTIFICATE@12",
        ),
        (format!("{cert}{key}"), PrivateKey, "PRIVATE KEY@5"),
        (
            format!("{}{}", block("EC PARAMETERS"), block("EC PRIVATE KEY")),
            PrivateKey,
            "EC PRIVATE KEY@5",
        ),
        (
            format!("{}{cert}", block("PUBLIC KEY")),
            PublicKey,
            "PUBLIC KEY@1 CERTIFICATE@5",
        ),
        (cert.replace('\n', "\r\n"), Certificate, "CERTIFICATE@1"),
        (
            format!("{cert}{cert}").replace('\n', "\r\n"),
            Certificate,
            "CERTIFICATE@1 CERTIFICATE@5",
        ),
        (cert.replace('\n', "\r"), Certificate, "CERTIFICATE@1"),
        (cert.replace('\n', " \n"), Certificate, "CERTIFICATE@1"),
        (cert.trim_end().to_owned(), Certificate, "CERTIFICATE@1"),
        (
            format!("\u{feff}text\n{cert}"),
            Certificate,
            "CERTIFICATE@2",
        ),
        // Blocks that are not wanted may have any form.
        (
            format!("{}{cert}", block("ENCRYPTED PRIVATE KEY")),
            Certificate,
            "CERTIFICATE@5",
        ),
        (
            format!("key: -----BEGIN X-----\n{cert}"),
            Certificate,
            "CERTIFICATE@2",
        ),
    ] {
        assert_eq!(labels(&file, wanted), found, "{file}");
    }
    let file =
        "-----BEGIN PRIVATE KEY-----\r\nComment: a\r\n b\r\n\r\nAAAA\r\n-----END PRIVATE KEY-----";
    let found = blocks(file.as_bytes(), PrivateKey).expect("a key");
    assert_eq!(found[0].body.trim_ascii(), b"AAAA", "headers are no base64");
}

/// `(file, wanted, message)`: the slip and the advice.
#[test]
fn every_slip_is_named_with_what_to_do() {
    let cert = block("CERTIFICATE");
    let key = block("PRIVATE KEY");
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    for (file, wanted, says) in [
        (String::new(), Certificate, ["is empty", ""]),
        (" \n".to_owned(), PrivateKey, ["is empty", ""]),
        (
            "hello".to_owned(),
            Certificate,
            [
                "no certificate inside",
                "-----BEGIN CERTIFICATE----- is expected",
            ],
        ),
        (
            "hello".to_owned(),
            PrivateKey,
            [
                "no private key inside",
                "-----BEGIN PRIVATE KEY----- is expected",
            ],
        ),
        (
            "hello".to_owned(),
            PublicKey,
            [
                "no public key inside",
                "-----BEGIN PUBLIC KEY----- is expected",
            ],
        ),
        (
            format!("\u{feff}{cert}"),
            Certificate,
            ["byte order mark in line 1", "UTF-8 without one"],
        ),
        (
            format!("{cert}\u{feff}{cert}"),
            Certificate,
            ["byte order mark in line 5", "UTF-8 without one"],
        ),
        (
            format!("\u{feff}{key}"),
            PrivateKey,
            ["byte order mark in line 1", "UTF-8 without one"],
        ),
        (
            cert.replace("-----BEGIN", "  -----BEGIN"),
            Certificate,
            ["line 1 is indented", "remove the spaces"],
        ),
        (
            cert.trim_end().repeat(2),
            Certificate,
            ["line 4 has more than -----END", "break the line there"],
        ),
        (
            cert.replace('\n', ""),
            Certificate,
            ["line 1 has more than -----BEGIN", "break the line there"],
        ),
        (
            cert.replace('\n', " "),
            Certificate,
            ["line 1 has more than -----BEGIN", "break the line there"],
        ),
        (
            cert.replace('\n', "\\n"),
            Certificate,
            ["\"\\n\" written out", "write line breaks"],
        ),
        (
            format!("\"{}\"", cert.replace('\n', "\\n")),
            Certificate,
            ["\"\\n\" written out", "write line breaks"],
        ),
        (
            format!("cert: {cert}"),
            Certificate,
            ["line 1 has -----BEGIN behind other text", "start of a line"],
        ),
        (
            cert.replace("-----END CERTIFICATE-----", ""),
            Certificate,
            [
                "begins in line 1 has no line -----END CERTIFICATE-----",
                "whole",
            ],
        ),
        (
            cert.replace("END CERT", "END KERT"),
            Certificate,
            [
                "begins in line 1 has no line -----END CERTIFICATE-----",
                "whole",
            ],
        ),
        (
            format!("{}{cert}", cert.replace("-----END CERTIFICATE-----\n", "")),
            Certificate,
            ["in line 1 has no line", "whole"],
        ),
        (
            old.to_owned(),
            PrivateKey,
            [
                "encrypted, in the old way",
                "openssl pkey -in KEY -out PLAIN",
            ],
        ),
        (
            old.replace('\n', "\r\n"),
            PrivateKey,
            [
                "encrypted, in the old way",
                "openssl pkey -in KEY -out PLAIN",
            ],
        ),
        (
            block("ENCRYPTED PRIVATE KEY"),
            PrivateKey,
            ["the key is encrypted", "openssl pkey -in KEY -out PLAIN"],
        ),
        (
            block("OPENSSH PRIVATE KEY"),
            PrivateKey,
            ["OpenSSH", "ssh-keygen -p -m PKCS8"],
        ),
        (
            block("DSA PRIVATE KEY"),
            PrivateKey,
            ["the key is DSA", "openssl genpkey -algorithm EC"],
        ),
        (
            block("ANY PRIVATE KEY"),
            PrivateKey,
            [
                "a block \"ANY PRIVATE KEY\"",
                "openssl pkey -in KEY -out PLAIN",
            ],
        ),
        (
            cert.clone(),
            PrivateKey,
            ["it has a certificate", "name the file of its private key"],
        ),
        (
            key.clone(),
            Certificate,
            ["it has a private key", "name the file of its certificate"],
        ),
        (
            block("EC PRIVATE KEY"),
            Certificate,
            ["it has a private key", "name the file of its certificate"],
        ),
        (
            block("PUBLIC KEY"),
            PrivateKey,
            ["it has a public key", "name the file of the private key"],
        ),
        (
            block("PUBLIC KEY"),
            Certificate,
            [
                "it has a public key alone",
                "name the file of its certificate",
            ],
        ),
        (
            key,
            PublicKey,
            ["holds a private key", "openssl pkey -in KEY -pubout"],
        ),
        (
            old.to_owned(),
            PublicKey,
            ["holds a private key", "openssl pkey -in KEY -pubout"],
        ),
        (
            block("CERTIFICATE REQUEST"),
            Certificate,
            ["a request for a certificate", "the authority made of it"],
        ),
        (
            block("TRUSTED CERTIFICATE"),
            Certificate,
            ["OpenSSL's own", "openssl x509 -in FILE"],
        ),
        (
            block("PKCS7"),
            Certificate,
            ["PKCS #7", "openssl pkcs7 -print_certs"],
        ),
        (
            block("X509 CRL"),
            Certificate,
            ["a revocation list", "name a certificate"],
        ),
        (
            block("EC PARAMETERS"),
            PrivateKey,
            ["parameters alone", "name the file of the key"],
        ),
        (
            block("AGE"),
            PrivateKey,
            ["a block \"AGE\"", "-----BEGIN PRIVATE KEY----- is expected"],
        ),
        (
            "ssh-ed25519 AAAA a@b".to_owned(),
            PublicKey,
            ["OpenSSH", "ssh-keygen -e -m PKCS8"],
        ),
    ] {
        let message = blocks(file.as_bytes(), wanted).expect_err(&file);
        assert!(
            says.iter().all(|part| message.contains(part)),
            "{file}\n{message}"
        );
        assert!(
            !message.contains('\n') && !message.contains("AAAA"),
            "{message}"
        );
    }
    let utf_16 = cert
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect::<Vec<_>>();
    for (file, says) in [
        (utf_16.as_slice(), "is UTF-16"),
        (&[&[0xff, 0xfe][..], &utf_16].concat(), "is UTF-16"),
        (
            &[0x30, 0x82, 0x03, 0x00, 0x30],
            "is DER, not PEM; convert it",
        ),
        (&[0x30, 0x03, 2, 1, 3], "no certificate inside"),
        (&[0x30, 0x81, 0x03, 2, 1, 3], "is PKCS #12"),
        (&[0xfe, 0xed, 0xfe, 0xed, 0], "is a Java key store"),
    ] {
        let message = blocks(file, Certificate).expect_err("no PEM");
        assert!(message.contains(says), "{message}");
    }
}

/// Truncated, repeated or changed bytes give a result, and never a panic.
#[test]
fn any_bytes_have_an_answer() {
    let whole = format!(
        "\u{feff}text\r\n{}{}",
        block("CERTIFICATE"),
        block("PRIVATE KEY")
    );
    for at in 0..whole.len() {
        for wanted in [Certificate, PrivateKey, PublicKey] {
            for byte in [b'\n', b'\r', b'-', b' ', 0, 0xff] {
                let mut bytes = whole.as_bytes().to_vec();
                bytes[at] = byte;
                let _ = blocks(&bytes, wanted);
                bytes.truncate(at);
                let _ = blocks(&bytes, wanted);
            }
        }
    }
}
