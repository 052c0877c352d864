//! What of a certificate rustls does not tell: how long it is valid, and for which names (RFC 5280 section 4.1).
//!
//! It reads the program's own certificates, to warn and to choose by name, and a peer's that rustls has found good: for the names that the
//! program is told, and for whether it has expired since. Whether a certificate is good is never told from what is read here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT Version`.
const VERSION: u8 = 0xa0;
/// `[3] EXPLICIT Extensions`.
const EXTENSIONS: u8 = 0xa3;
/// `dNSName [2] IA5String`.
const DNS_NAME: u8 = 0x82;
/// 2.5.29.17, `id-ce-subjectAltName`.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// What is read of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    /// The DNS names of the extension subjectAltName, in lower case.
    pub(super) names: Vec<String>,
}

impl Certificate {
    /// `None` where it is no certificate.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let mut tbs = Reader(Reader(Reader(der).take(SEQUENCE)?).take(SEQUENCE)?);
        tbs.skip_optional(VERSION);
        tbs.take(INTEGER)?; // serialNumber
        tbs.take(SEQUENCE)?; // signature
        tbs.take(SEQUENCE)?; // issuer
        let mut validity = Reader(tbs.take(SEQUENCE)?);
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        tbs.take(SEQUENCE)?; // subject
        tbs.take(SEQUENCE)?; // subjectPublicKeyInfo
        Some(Self {
            not_before,
            not_after,
            names: names(tbs).unwrap_or_default(),
        })
    }
}

/// The names, from what comes after the public key.
fn names(mut rest: Reader<'_>) -> Option<Vec<String>> {
    let extensions = loop {
        match rest.next()? {
            (EXTENSIONS, value) => break value,
            _ => continue, // Unique identifiers, which nobody has.
        }
    };
    let mut extensions = Reader(Reader(extensions).take(SEQUENCE)?);
    while let Some(extension) = extensions.take(SEQUENCE) {
        let mut extension = Reader(extension);
        if extension.take(OBJECT_IDENTIFIER)? != SUBJECT_ALT_NAME {
            continue;
        }
        let value = loop {
            match extension.next()? {
                (OCTET_STRING, value) => break value,
                _ => continue, // Whether it is critical.
            }
        };
        let mut value = Reader(value);
        let mut general = Reader(value.take(SEQUENCE)?);
        let mut all = Vec::new();
        while let Some((tag, value)) = general.next() {
            if tag == DNS_NAME
                && let Ok(name) = str::from_utf8(value)
            {
                all.push(name.to_ascii_lowercase());
            }
        }
        // Some of the names of what can't be read to its end would be a guess.
        return (general.0.is_empty() && value.0.is_empty()).then_some(all);
    }
    None
}

/// Values one after the other, each with its tag and length (X.690 section 8.1).
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            let bytes = usize::from(first & 0x7f);
            if bytes == 0 || bytes > 4 {
                return None;
            }
            let (written, after) = rest.split_at_checked(bytes)?;
            length = written
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest = after;
        }
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn take(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let (tag, value) = self.next()?;
        (tag == wanted).then_some(value)
    }

    fn skip_optional(&mut self, tag: u8) {
        if self.0.first() == Some(&tag) {
            self.next();
        }
    }

    /// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5). Before 1970 is 1970.
    fn time(&mut self) -> Option<SystemTime> {
        let (tag, text) = self.next()?;
        let (year, rest) = match tag {
            UTC_TIME => {
                let (year, rest) = text.split_at_checked(2)?;
                let year = number(year)?;
                (if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            GENERALIZED_TIME => {
                let (year, rest) = text.split_at_checked(4)?;
                (number(year)?, rest)
            }
            _ => return None,
        };
        if rest.len() != 11 || rest[10] != b'Z' {
            return None;
        }
        let mut fields = rest[..10].chunks(2).map(number);
        let mut next = || fields.next().flatten();
        let (month, day, hour, minute, second) = (next()?, next()?, next()?, next()?, next()?);
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 {
            return None;
        }
        let days = u64::try_from(days_from_1970(year, month, day)).unwrap_or(0);
        let seconds = ((days * 24 + hour as u64) * 60 + minute as u64) * 60 + second as u64;
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits
        .iter()
        .all(u8::is_ascii_digit)
        .then(|| digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
}

/// Days of the Gregorian calendar from 1970-01-01; years begin with March, so that the leap day is the last.
fn days_from_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn made(names: &[&str], from: (i32, u8, u8), to: (i32, u8, u8)) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(to.0, to.1, to.2);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn seconds(time: SystemTime) -> u64 {
        time.duration_since(UNIX_EPOCH).unwrap().as_secs()
    }

    #[test]
    fn validity_and_names_are_those_that_the_certificate_was_made_with() {
        let der = made(
            &["a.example", "*.B.example", "198.18.0.2"],
            (1975, 1, 1),
            (2024, 2, 29),
        );
        let read = Certificate::read(&der).unwrap();
        // `date -u -d 2024-02-29 +%s`
        assert_eq!(seconds(read.not_before), 157_766_400);
        assert_eq!(seconds(read.not_after), 1_709_164_800);
        assert_eq!(read.names, ["a.example", "*.b.example"]);
    }

    #[test]
    fn years_after_2049_are_written_with_four_digits_and_read() {
        let read = Certificate::read(&made(&[], (2049, 12, 31), (4096, 1, 1))).unwrap();
        assert_eq!(seconds(read.not_before), 2_524_521_600);
        assert_eq!(seconds(read.not_after), 67_090_118_400);
        assert!(read.names.is_empty());
    }

    #[test]
    fn names_that_do_not_end_where_they_should_are_none() {
        let mut der = made(&["a.example", "b.example"], (2020, 1, 1), (2030, 1, 1));
        let second = der.windows(9).position(|name| name == b"b.example");
        der[second.unwrap() - 1] = 10;
        assert!(Certificate::read(&der).unwrap().names.is_empty());
    }

    #[test]
    fn no_cut_and_no_flipped_byte_of_a_certificate_does_harm() {
        let der = made(&["a.example"], (2020, 1, 1), (2030, 1, 1));
        for cut in 0..der.len() {
            assert_eq!(Certificate::read(&der[..cut]), None, "{cut}");
        }
        for at in 0..der.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut der = der.clone();
                der[at] ^= flip;
                let _ = Certificate::read(&der);
            }
        }
    }
}
