//! Somebody with a password of his own for the node's RPC, and what he called.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bitcoin::hashes::{Hash as _, HashEngine as _, Hmac, HmacEngine, sha256};

use super::Node;

/// In the node's folder: `user:password`, as in the node's own cookie.
pub(super) const FILE: &str = "user.cookie";
const NAME: &str = "claustrum";
const PASSWORD: &str = "not the cookie";
const SALT: &str = "5a17";

/// A user `claustrum` of the RPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcUser {
    /// The methods that he may call, as `-rpcwhitelist` takes them; all if there is none.
    pub whitelist: Option<String>,
}

impl RpcUser {
    /// The name that goes before the colon in the node's settings.
    pub const NAME: &str = NAME;

    pub(super) fn arguments(&self) -> Result<Vec<String>> {
        let mut engine = HmacEngine::<sha256::Hash>::new(SALT.as_bytes());
        engine.input(PASSWORD.as_bytes());
        let hash = Hmac::<sha256::Hash>::from_engine(engine);
        let mut arguments = vec![
            format!("-rpcauth={NAME}:{SALT}${hash:x}"),
            // The rig's own user has no list.
            "-rpcwhitelistdefault=0".to_owned(),
            "-debug=rpc".to_owned(),
        ];
        if let Some(methods) = &self.whitelist {
            anyhow::ensure!(!methods.is_empty(), "an empty list of methods");
            arguments.push(format!("-rpcwhitelist={NAME}:{methods}"));
        }
        Ok(arguments)
    }

    pub(super) fn write(&self, file: &Path) -> Result<()> {
        fs::write(file, format!("{NAME}:{PASSWORD}")).context("failed to write a password")
    }
}

impl Node {
    /// The file with the password of its `RpcUser`.
    pub fn user_cookie(&self) -> PathBuf {
        self.data_dir().join(FILE)
    }

    /// The methods that its `RpcUser` has called since it first started, refused calls among them.
    pub fn called_by_user(&self) -> Result<BTreeSet<String>> {
        let log = fs::read_to_string(self.data_dir().join("regtest/debug.log"))?;
        let ending = format!(" user={NAME}");
        let calls = log.lines().filter_map(|line| {
            let (_, call) = line.split_once("ThreadRPCServer method=")?;
            call.strip_suffix(&ending)
        });
        Ok(calls.map(str::to_owned).collect())
    }
}
