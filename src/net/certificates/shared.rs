//! Open challenges in the folder of the orders, for the other workers: the authority may come to any of
//! them. The worker that has the folder writes the file and goes on when all have looked.
//!
//! ```text
//! file NAME TEXT            file of plain listeners
//! proof SNI CERTIFICATE KEY certificate of a handshake, in hexadecimal digits
//! ```

use super::wishes::Wishes;
use crate::acme::File;
use crate::time::Duration;
use crate::transport::ordered::ChallengeCertificate;

/// Name of the file.
pub(super) const NAME: &str = "challenges";
/// Time between two looks of another worker.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// Time after which all workers have looked.
pub(super) const KNOWN: Duration = Duration::from_secs(2);

/// Returns the file with the open challenges; without any it is removed.
pub(super) fn write(wishes: &Wishes) -> File {
    let mut text = String::new();
    for (name, content) in wishes.files.iter().chain(&wishes.probe) {
        text.push_str(&format!("file {name} {content}\n"));
    }
    for proof in &wishes.proofs {
        let (certificate, key) = (hex(&proof.certificate), hex(&proof.key));
        text.push_str(&format!(
            "proof {} {certificate} {key}\n",
            proof.server_name
        ));
    }
    File {
        name: NAME.to_owned(),
        bytes: (!text.is_empty()).then(|| text.into_bytes()),
    }
}

/// Reads the open challenges. A line that is none is left out.
pub(super) fn read(bytes: &[u8], wishes: &mut Wishes) {
    let text = String::from_utf8_lossy(bytes);
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("file"), Some(name), Some(first), rest) => {
                let rest = rest.map_or(String::new(), |rest| format!(" {rest}"));
                let content = format!("{first}{rest}");
                wishes.files.push((name.into(), content.into()));
            }
            (Some("proof"), Some(name), Some(certificate), Some(key)) => {
                if let (Some(certificate), Some(key)) = (bytes_of(certificate), bytes_of(key)) {
                    wishes.proofs.push(ChallengeCertificate {
                        server_name: name.to_owned(),
                        certificate,
                        key,
                    });
                }
            }
            _ => {}
        }
    }
    wishes.is_changed = true;
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| {
        let [high, low] = pair else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_workers_read_what_was_written() {
        let mut wishes = Wishes::default();
        assert!(write(&wishes).bytes.is_none(), "no challenge, no file");
        wishes.files.push(("token".into(), "token.thumb".into()));
        wishes.probe = Some(("probe-1".into(), "tollgate probe-1".into()));
        wishes.proofs.push(ChallengeCertificate {
            server_name: "a.test".to_owned(),
            certificate: vec![0, 1, 255],
            key: vec![16],
        });
        let bytes = write(&wishes).bytes.expect("three challenges");
        let mut others = Wishes::default();
        read(&bytes, &mut others);
        let expected = [("token", "token.thumb"), ("probe-1", "tollgate probe-1")];
        let files = others.files.iter();
        let files = files.map(|(name, content)| (&**name, &**content));
        assert_eq!(files.collect::<Vec<_>>(), expected);
        let proof = &others.proofs[0];
        assert_eq!(proof.server_name, "a.test");
        assert_eq!(
            (&proof.certificate[..], &proof.key[..]),
            (&[0, 1, 255][..], &[16][..])
        );
        assert!(others.is_changed);
        // What is no challenge is left out, wherever the file ends.
        for end in 0..bytes.len() {
            read(&bytes[..end], &mut Wishes::default());
        }
        let mut odd = Wishes::default();
        read(
            b"proof a zz 00\nproof a +f 00\nproof a 0 00\nfile x\nother a b c\n\xff\n",
            &mut odd,
        );
        assert!(odd.files.is_empty() && odd.proofs.is_empty());
    }
}
