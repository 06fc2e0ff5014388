//! How Arti is set: by us where its defaults are not safe for a service that lives for years, by
//! the operator where the network at hand needs it (bridges, a test network).

use std::path::PathBuf;
use std::time::Duration;

use arti_client::TorClientConfig;
use arti_client::config::{CfgPath, TorClientConfigBuilder};
use tor_config::ExplicitOrAuto;
use tor_guardmgr::VanguardMode;
use tor_hsservice::HsNickname;
use tor_hsservice::config::{OnionServiceConfig, OnionServiceConfigBuilder, TokenBucketConfig};

use crate::error::SettingsError;

/// Sections of the client configuration that the operator's fragment may not contain: a fragment
/// written for another purpose must not weaken anonymity or lift the memory bound unnoticed.
const RESERVED: [&str; 3] = ["storage", "system", "vanguards"];

/// Arti keeps isolated circuits for an hour by default; each one-shot circuit would stay as long.
const DISUSED_CIRCUIT_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Three suffice: they share one queue in front of us, and each more is one more observer.
const INTRODUCTION_POINTS: u8 = 3;

/// What each introduction point lets through: requests a second, and at once.
const INTRODUCTION_RATE: (u32, u32) = (25, 200);

/// Where Arti itself closes the circuit; it must be above
/// the number at which `circuit` refuses single streams.
const CIRCUIT_CLOSING_STREAMS: u32 = 64;

/// What a [`Tor`](crate::Tor) client needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Guards, keys and introduction points. Losing it costs reachability for a while, and costs
    /// the onion addresses unless their seeds are kept elsewhere.
    pub state_dir: PathBuf,
    /// The network directory; may be deleted at any time.
    pub cache_dir: PathBuf,
    /// A piece of Arti's client configuration in TOML, for bridges or a test network.
    pub network_fragment: Option<String>,
    /// Bytes that Arti may hold in queues before it closes the circuits with the oldest data.
    pub memory_max: usize,
    /// Bytes down to which it then makes room; less than `memory_max`.
    pub memory_low_water: usize,
}

/// What an [`OnionService`](crate::OnionService) needs to know.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// Names its keys and state on disk; letters, digits, `-`, `_`. Not seen by clients.
    pub nickname: String,
    /// The only port that clients can open streams to.
    pub virtual_port: u16,
    /// Rendezvous circuits open at a time; further clients are not answered.
    pub circuits_max: usize,
}

impl Settings {
    /// Arti's configuration: the fragment, and over it everything that is ours to decide.
    pub(crate) fn client_config(&self) -> Result<TorClientConfig, SettingsError> {
        let mut builder = read_fragment(self.network_fragment.as_deref().unwrap_or_default())?;
        builder
            .storage()
            .state_dir(CfgPath::new_literal(&self.state_dir))
            .cache_dir(CfgPath::new_literal(&self.cache_dir));
        builder
            .system()
            .memory()
            .max(self.memory_max)
            .low_water(self.memory_low_water);
        // That this variant exists proves that Arti is built with vanguards.
        builder
            .vanguards()
            .mode(ExplicitOrAuto::Explicit(VanguardMode::Full));
        builder
            .circuit_timing()
            .disused_circuit_timeout(DISUSED_CIRCUIT_TIMEOUT);
        builder
            .build()
            .map_err(|error| SettingsError::Build(error.into()))
    }
}

/// The configuration of one onion service.
pub(crate) fn service_config(nickname: HsNickname) -> Result<OnionServiceConfig, SettingsError> {
    let (rate, burst) = INTRODUCTION_RATE;
    OnionServiceConfigBuilder::default()
        .nickname(nickname)
        .num_intro_points(INTRODUCTION_POINTS)
        .rate_limit_at_intro(Some(TokenBucketConfig::new(rate, burst)))
        .max_concurrent_streams_per_circuit(CIRCUIT_CLOSING_STREAMS)
        .build()
        .map_err(|error| SettingsError::Build(error.into()))
}

fn read_fragment(text: &str) -> Result<TorClientConfigBuilder, SettingsError> {
    let fault = |error: toml::de::Error| SettingsError::Fragment {
        line: line_of(&error, text),
    };
    let sections: toml::Table = toml::from_str(text).map_err(fault)?;
    let reserved = RESERVED
        .into_iter()
        .filter(|key| sections.contains_key(*key));
    let reserved: Vec<String> = reserved.map(|key| format!("`{key}`")).collect();
    if !reserved.is_empty() {
        return Err(SettingsError::ReservedKeys { keys: reserved });
    }
    let mut unknown = Vec::new();
    let deserializer = toml::Deserializer::parse(text).map_err(fault)?;
    let builder =
        serde_ignored::deserialize(deserializer, |path| unknown.push(format!("`{path}`")))
            .map_err(fault)?;
    if !unknown.is_empty() {
        return Err(SettingsError::UnknownKeys { keys: unknown });
    }
    Ok(builder)
}

fn line_of(error: &toml::de::Error, text: &str) -> usize {
    let start = error.span().map_or(0, |span| span.start);
    1 + text
        .bytes()
        .take(start)
        .filter(|byte| *byte == b'\n')
        .count()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn settings(fragment: &str) -> Settings {
        Settings {
            state_dir: "/var/lib/claustrum/tor".into(),
            cache_dir: "/var/cache/claustrum".into(),
            network_fragment: Some(fragment.to_owned()),
            memory_max: 160 << 20,
            memory_low_water: 112 << 20,
        }
    }

    /// What `settings` has to become, in the words of Arti's own manual.
    const WANTED: &str = r#"
        vanguards.mode = "full"
        system.memory = { max = "160 MiB", low_water = "112 MiB" }
        circuit_timing.disused_circuit_timeout = "5 minutes"
        storage.state_dir = { literal = "/var/lib/claustrum/tor" }
        storage.cache_dir = { literal = "/var/cache/claustrum" }
    "#;

    fn arti(text: &str) -> TorClientConfig {
        toml::from_str::<TorClientConfigBuilder>(text)
            .unwrap()
            .build()
            .unwrap()
    }

    #[test]
    fn the_client_is_set_by_us_not_by_artis_defaults() {
        assert_eq!(settings("").client_config().unwrap(), arti(WANTED));
        for line in WANTED.lines().filter(|line| line.contains('=')) {
            assert_ne!(
                settings("").client_config().unwrap(),
                arti(&WANTED.replace(line, ""))
            );
        }
    }

    #[test]
    fn file_permissions_are_checked() {
        let config = settings("").client_config().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let open_to = |mode| std::fs::set_permissions(&folder, Permissions::from_mode(mode));
        open_to(0o700).unwrap();
        assert!(config.fs_mistrust().check_directory(&folder).is_ok());
        open_to(0o777).unwrap();
        assert!(config.fs_mistrust().check_directory(&folder).is_err());
    }

    #[test]
    fn the_service_is_set_by_us_not_by_artis_defaults() {
        let wanted = r#"
            nickname = "first"
            num_intro_points = 3
            rate_limit_at_intro = { rate = 25, burst = 200 }
            max_concurrent_streams_per_circuit = 64
            enable_pow = false
        "#;
        let wanted: OnionServiceConfigBuilder = toml::from_str(wanted).unwrap();
        let nickname = HsNickname::new("first".to_owned()).unwrap();
        assert_eq!(service_config(nickname).unwrap(), wanted.build().unwrap());
    }

    #[test]
    fn proof_of_work_is_not_compiled_in() {
        let text = "nickname = \"first\"\nenable_pow = true";
        let builder: OnionServiceConfigBuilder = toml::from_str(text).unwrap();
        assert!(builder.build().is_err());
    }

    #[test]
    fn a_fragment_adds_to_our_settings() {
        let fragment = "[address_filter]\nallow_local_addrs = true\n";
        let wanted = format!("{WANTED}\n{fragment}");
        assert_eq!(settings(fragment).client_config().unwrap(), arti(&wanted));
    }

    #[test]
    fn a_fragment_cannot_weaken_our_settings() {
        for (fragment, named) in [
            ("[vanguards]\nmode = \"lite\"", "`vanguards`"),
            ("system.memory.max = \"8 GiB\"", "`system`"),
            (
                "[storage.permissions]\ndangerously_trust_everyone = true",
                "`storage`",
            ),
        ] {
            let error = settings(fragment).client_config().unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
        let fragment = "[circuit_timing]\ndisused_circuit_timeout = \"1 day\"";
        assert_eq!(settings(fragment).client_config().unwrap(), arti(WANTED));
    }

    #[test]
    fn a_misspelt_key_is_an_error_that_names_it() {
        let error = settings("[bridges]\nenable = true")
            .client_config()
            .unwrap_err();
        assert!(error.to_string().contains("`bridges.enable`"), "{error}");
    }

    #[test]
    fn a_wrong_value_is_an_error_that_names_the_line_and_not_the_value() {
        for fragment in [
            "[bridges]\nenabled = \"192.0.2.7\"",
            "[bridges]\n192.0.2.7",
            "[bridges]\nbridges = [\"192.0.2.7 of nobody\"]",
            "[[bridges.transports]]\nprotocols = \"192.0.2.7\"",
        ] {
            let error = settings(fragment).client_config().unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains("line 2") && !text.contains("192"), "{text}");
        }
    }
}
