//! The shape of the code, held: who may import whom, which foreign crate is named where, how long a file is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines a file may have, its tests included.
const LINES_MAX: usize = 500;

/// What each top-level module may import of ours; docs/architecture.md draws the same picture.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("limits", &[]),
    ("redact", &[]),
    ("secret", &[]),
    ("chain", &["error", "limits", "redact"]),
    ("node", &["chain", "error", "limits", "redact", "secret"]),
    ("index", &["chain", "error", "limits", "redact"]),
    (
        "mempool",
        &["chain", "error", "index", "limits", "node", "redact"],
    ),
    (
        "query",
        &[
            "chain", "error", "index", "limits", "mempool", "node", "redact",
        ],
    ),
    (
        "sync",
        &[
            "chain", "error", "index", "limits", "mempool", "node", "query",
        ],
    ),
    ("broadcast", &["chain", "error", "limits", "node", "redact"]),
    (
        "electrum",
        &["broadcast", "chain", "error", "limits", "query", "redact"],
    ),
    (
        "session",
        &[
            "broadcast",
            "chain",
            "electrum",
            "error",
            "limits",
            "query",
            "redact",
        ],
    ),
    (
        "config",
        &["broadcast", "chain", "electrum", "error", "limits", "node"],
    ),
    ("hardening", &[]),
    ("installation", &["error", "limits"]),
    ("status", &[]),
    ("telemetry", &["limits"]),
    (
        "engine",
        &[
            "broadcast",
            "chain",
            "config",
            "electrum",
            "error",
            "index",
            "limits",
            "node",
            "query",
            "session",
            "sync",
        ],
    ),
    ("door", &["broadcast", "error", "installation", "limits"]),
    (
        "server",
        &[
            "broadcast",
            "config",
            "door",
            "engine",
            "error",
            "installation",
            "limits",
            "node",
            "status",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "broadcast",
            "config",
            "door",
            "engine",
            "error",
            "hardening",
            "installation",
            "node",
            "redact",
            "server",
            "status",
            "telemetry",
        ],
    ),
];

/// Foreign crates that only these modules may name, with all that lies in them.
const NAMED_ONLY_IN: &[(&str, &[&str])] = &[
    ("bitcoin_slices", &["index"]),
    ("bitcoincore_rpc", &["node"]),
    ("chacha20_poly1305", &["broadcast"]),
    ("claustrum_onion", &["door"]),
    ("clap", &["cli", "config"]),
    ("crc32fast", &["index"]),
    ("hashbrown", &["mempool"]),
    ("indicatif", &["cli"]),
    ("nix", &["session"]),
    ("qrcode", &["cli"]),
    ("rand", &["broadcast"]),
    ("redb", &["index"]),
    ("rustix", &["hardening", "index", "installation"]),
    ("sha2", &["chain", "index"]),
    ("serde_json", &["electrum", "node", "session", "status"]),
    ("siphasher", &["index"]),
    (
        "tokio",
        &[
            "broadcast/delivery",
            "broadcast/dispatcher",
            "door",
            "engine",
            "server",
            "session",
        ],
    ),
    ("tokio_util", &["engine", "session"]),
    ("tracing_subscriber", &["telemetry"]),
    ("ureq", &["node"]),
];

/// Words that say a thing is unfinished.
const UNFINISHED: &[&str] = &[
    "TODO",
    "FIXME",
    "XXX",
    "todo!(",
    "unimplemented!(",
    "#[ignore",
];

#[test]
fn modules_import_only_what_stands_below_them() {
    let may: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    for file in sources("src") {
        let Some(module) = module_of(&file) else {
            continue;
        };
        let text = code_of(&file);
        let allowed = may
            .get(module.as_str())
            .unwrap_or_else(|| panic!("{module} is not in the table"));
        for import in imports(&text) {
            let fine = import == module
                || allowed.contains(&import.as_str())
                || !may.contains_key(import.as_str());
            assert!(fine, "{} imports crate::{import}", file.display());
        }
    }
}

#[test]
fn foreign_crates_are_named_where_they_belong() {
    for file in sources("src") {
        let place = file.with_extension("");
        let text = code_of(&file);
        for (name, modules) in NAMED_ONLY_IN {
            let path = format!("{name}::");
            // `unix::` does not name `nix`.
            let named = text
                .match_indices(&path)
                .filter_map(|(at, _)| text.get(..at))
                .any(|before| !before.ends_with(char::is_alphanumeric));
            let may = modules
                .iter()
                .any(|module| place.starts_with(root().join("src").join(module)));
            assert!(!named || may, "{} names {name}", file.display());
        }
    }
}

#[test]
fn the_table_itself_has_no_cycle() {
    for (place, (module, below)) in MAY_IMPORT.iter().enumerate() {
        for import in *below {
            let at = MAY_IMPORT.iter().position(|(name, _)| name == import);
            assert!(
                at.is_some_and(|at| at < place),
                "{module} imports {import}, which does not stand above it"
            );
        }
    }
}

#[test]
fn files_are_short_ascii_and_finished() {
    for folder in ["src", "crates", "tests", "examples", "benches"] {
        for file in sources(folder) {
            let text = fs::read_to_string(&file).unwrap();
            let name = file.display();
            assert!(
                text.lines().count() <= LINES_MAX,
                "{name} has more than {LINES_MAX} lines"
            );
            assert!(text.is_ascii(), "{name} is not ASCII");
            if !file.ends_with("architecture.rs") {
                for word in UNFINISHED {
                    assert!(!text.contains(word), "{name} contains {word}");
                }
            }
        }
    }
}

#[test]
fn the_manual_says_every_limit_as_it_is() {
    let manual = fs::read_to_string(root().join("docs/limits.md")).unwrap();
    let limits = fs::read_to_string(root().join("src/limits.rs")).unwrap();
    let mut count = 0;
    for line in limits
        .lines()
        .filter_map(|line| line.strip_prefix("pub const "))
    {
        let (name, rest) = line.split_once(':').unwrap();
        let value = rest.split_once(" = ").unwrap().1.trim_end_matches(';');
        assert!(
            manual.contains(&format!("| `{name}` | `{value}` |")),
            "docs/limits.md says otherwise of {name}"
        );
        count += 1;
    }
    assert_eq!(
        manual
            .lines()
            .filter(|line| line.starts_with("| `"))
            .count(),
        count,
        "docs/limits.md has more"
    );
}

#[test]
fn the_tests_that_the_manual_names_for_limits_are_there() {
    let manual = fs::read_to_string(root().join("docs/limits.md")).unwrap();
    let limits = fs::read_to_string(root().join("src/limits.rs")).unwrap();
    let (_, edges) = manual.split_once("## Tests at the edge").unwrap();
    let files = sources("src").into_iter().chain(sources("tests/all"));
    let code: String = files
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let quoted: Vec<&str> = edges.split('`').skip(1).step_by(2).collect();
    assert!(quoted.len() > 50);
    for name in quoted {
        let there = if name.contains(char::is_uppercase) {
            limits.contains(&format!("pub const {name}:"))
        } else {
            code.contains(&format!("fn {name}()")) || code.contains(&format!("fn {name}(\n"))
        };
        assert!(there, "docs/limits.md names {name}, which is not there");
    }
}

/// The top-level module a file under `src` belongs to; `None` for the crate's roots.
fn module_of(file: &Path) -> Option<String> {
    let inside = file.strip_prefix(root().join("src")).unwrap();
    let first = inside.components().next()?.as_os_str().to_str()?;
    let module = first.strip_suffix(".rs").unwrap_or(first);
    (module != "lib" && module != "main").then(|| module.to_owned())
}

/// A file without its tests and comments, in which more may be named.
fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let code = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Names after `crate::`, those in a group of `use crate::{...}` included.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in text.split("crate::").skip(1) {
        let head = |part: &str| -> String {
            part.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        };
        if let Some(group) = rest.strip_prefix('{') {
            let group = group.split('}').next().unwrap_or_default();
            found.extend(group.split(',').map(|part| head(part.trim())));
        } else {
            found.push(head(rest));
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
