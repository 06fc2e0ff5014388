//! Protocol versions and how two parties agree on one (protocol basics, "Version Negotiation").

use std::str::FromStr;

/// The versions of the protocol that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProtocolVersion {
    /// 1.4: also spoken with clients that never say a version.
    V1_4,
    /// 1.4.1.
    V1_4_1,
    /// 1.4.2.
    V1_4_2,
    /// 1.4.3.
    V1_4_3,
    /// 1.6: headers as a list, `mempool.get_info` instead of `blockchain.relayfee`.
    V1_6,
    /// 1.7: scripts instead of their hashes, outpoints, padded pings; agreed on only if the operator asks for it.
    V1_7,
}

impl ProtocolVersion {
    /// The lowest.
    pub const MIN: Self = Self::V1_4;

    const ALL: [Self; 6] = [
        Self::V1_4,
        Self::V1_4_1,
        Self::V1_4_2,
        Self::V1_4_3,
        Self::V1_6,
        Self::V1_7,
    ];

    /// The form on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1_4 => "1.4",
            Self::V1_4_1 => "1.4.1",
            Self::V1_4_2 => "1.4.2",
            Self::V1_4_3 => "1.4.3",
            Self::V1_6 => "1.6",
            Self::V1_7 => "1.7",
        }
    }

    /// Whether clients may ask what the node would make of a transaction.
    pub fn tests_acceptance(self) -> bool {
        self >= Self::V1_7
    }

    /// The highest version up to `self` that lies inside the client's range; `None` when there is none.
    pub(super) fn agree(self, client_min: &str, client_max: &str) -> Option<Self> {
        let range = numbers(client_min)?..=numbers(client_max)?;
        Self::ALL
            .into_iter()
            .filter(|version| *version <= self)
            .rfind(|version| numbers(version.as_str()).is_some_and(|own| range.contains(&own)))
    }
}

/// Major, minor and revision number; those not said are 0.
fn numbers(text: &str) -> Option<[u16; 3]> {
    let mut numbers = [0; 3];
    let mut parts = text.split('.');
    for (index, number) in numbers.iter_mut().enumerate() {
        match parts.next() {
            Some(part) => *number = part.parse().ok()?,
            None if index > 0 => break,
            None => return None,
        }
    }
    parts.next().is_none().then_some(numbers)
}

/// The text names no version we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown protocol version; use 1.4, 1.4.1, 1.4.2, 1.4.3, 1.6 or 1.7")]
pub struct UnknownVersion;

impl FromStr for ProtocolVersion {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or(UnknownVersion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(max: &str, client: [&str; 2]) -> Option<&'static str> {
        let max: ProtocolVersion = max.parse().unwrap();
        max.agree(client[0], client[1]).map(ProtocolVersion::as_str)
    }

    #[test]
    fn the_highest_common_version_is_agreed() {
        assert_eq!(agreed("1.6", ["1.4", "1.6"]), Some("1.6"));
        assert_eq!(agreed("1.6", ["1.4", "1.4"]), Some("1.4"));
        assert_eq!(agreed("1.6", ["1.3", "1.4.2"]), Some("1.4.2"));
        assert_eq!(agreed("1.6", ["1.4", "1.7"]), Some("1.6"));
        assert_eq!(agreed("1.4.2", ["1.4", "1.6"]), Some("1.4.2"));
        assert_eq!(agreed("1.7", ["1.4", "1.7"]), Some("1.7"));
        assert_eq!(agreed("1.7", ["1.4", "1.6"]), Some("1.6"));
        assert_eq!(agreed("1.7", ["1.7", "2.0"]), Some("1.7"));
        assert_eq!(agreed("1.6", ["0", "10.0.0"]), Some("1.6"));
    }

    #[test]
    fn the_answer_lies_inside_the_range_of_the_client() {
        assert_eq!(agreed("1.6", ["1.4.1", "1.5.3"]), Some("1.4.3"));
        assert_eq!(agreed("1.6", ["1.5", "1.5.3"]), None);
        assert_eq!(agreed("1.6", ["1.7", "1.7"]), None);
        assert_eq!(agreed("1.4.3", ["1.6", "1.6"]), None);
        assert_eq!(agreed("1.6", ["1.0", "1.3"]), None);
        assert_eq!(agreed("1.6", ["1.6", "1.4"]), None);
    }

    #[test]
    fn what_is_no_version_agrees_with_nothing() {
        for text in ["", ".", "1.4.", "1.4.2.1", "1.x", "-1.4", "1.99999", "1.4 "] {
            assert_eq!(agreed("1.6", [text, text]), None, "{text}");
        }
        assert_eq!("1.5".parse::<ProtocolVersion>(), Err(UnknownVersion));
    }

    #[test]
    fn the_texts_rise_with_the_versions() {
        assert!(ProtocolVersion::ALL.is_sorted_by_key(|version| numbers(version.as_str())));
        assert!(ProtocolVersion::ALL.is_sorted());
    }
}
