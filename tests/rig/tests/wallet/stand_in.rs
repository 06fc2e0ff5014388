//! A server that answers a wallet from the oracle, slowly and for one script at a time.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rig::node::Node;
use rig::oracle::{self, Script};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Serves until the process ends; its port.
pub(crate) fn start(node: Arc<Node>) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let node = Arc::clone(&node);
            std::thread::spawn(move || {
                Session {
                    node,
                    watched: None,
                }
                .serve(&stream)
            });
        }
    });
    Ok(port)
}

struct Session {
    node: Arc<Node>,
    /// Script hash and the status that was told last.
    watched: Option<(String, Value)>,
}

impl Session {
    fn serve(mut self, stream: &TcpStream) -> Result<()> {
        for line in BufReader::new(stream).lines() {
            let request: Value = serde_json::from_str(&line?)?;
            let mut out = self.notifications()?;
            let reply = match self.answer(&request) {
                Ok(result) => json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }),
                Err(error) => {
                    json!({ "id": request["id"], "error": { "code": 1, "message": error.to_string() } })
                }
            };
            out.push(reply);
            let text: String = out.iter().map(|message| format!("{message}\n")).collect();
            { stream }.write_all(text.as_bytes())?;
        }
        Ok(())
    }

    fn notifications(&mut self) -> Result<Vec<Value>> {
        let Some((hash, told)) = self.watched.clone() else {
            return Ok(Vec::new());
        };
        let status = self.status(&hash)?;
        if status == told {
            return Ok(Vec::new());
        }
        self.watched = Some((hash.clone(), status.clone()));
        Ok(vec![
            json!({ "method": "blockchain.scripthash.subscribe", "params": [hash, status] }),
        ])
    }

    fn answer(&mut self, request: &Value) -> Result<Value> {
        let params = &request["params"];
        let first = params[0].as_str().unwrap_or_default();
        Ok(match request["method"].as_str().context("no method")? {
            "server.version" => json!(["stand-in", "1.4"]),
            "server.features" => {
                json!({ "server_version": "stand-in", "genesis_hash": self.node.block_hash(0)?,
                "protocol_min": "1.4", "protocol_max": "1.4", "hash_function": "sha256", "pruning": null, "hosts": {} })
            }
            "server.banner" => json!("made of oracles"),
            "server.ping" => Value::Null,
            "blockchain.headers.subscribe" => {
                let height = self.node.height()?;
                json!({ "height": height, "hex": self.header(height)? })
            }
            "blockchain.block.header" => {
                self.header(u32::try_from(params[0].as_u64().context("no height")?)?)?
            }
            "blockchain.scripthash.subscribe" => {
                let status = self.status(first)?;
                self.watched = Some((first.to_owned(), status.clone()));
                status
            }
            "blockchain.scripthash.get_balance" => {
                let Script {
                    confirmed,
                    unconfirmed,
                    ..
                } = self.script(first)?;
                json!({ "confirmed": confirmed, "unconfirmed": unconfirmed })
            }
            "blockchain.scripthash.get_history" => {
                let row = |entry: &oracle::Entry| json!({ "tx_hash": entry.txid, "height": entry.height, "fee": entry.fee });
                self.script(first)?.history.iter().map(row).collect()
            }
            "blockchain.scripthash.listunspent" => {
                let row = |row: &oracle::Unspent| json!({ "tx_hash": row.txid, "tx_pos": row.vout, "height": row.height, "value": row.value });
                self.script(first)?.unspent.iter().map(row).collect()
            }
            "blockchain.transaction.get" => self.node.rpc("getrawtransaction", json!([first]))?,
            "blockchain.transaction.get_merkle" => self.branch(first, &params[1])?,
            other => anyhow::bail!("no method {other}"),
        })
    }

    fn script(&self, hash: &str) -> Result<Script> {
        // It fails when the node moves meanwhile.
        let found = (0..10).find_map(|_| oracle::scripts(&self.node).ok());
        Ok(found
            .context("a node that never rests")?
            .remove(hash)
            .unwrap_or_default())
    }

    fn status(&self, hash: &str) -> Result<Value> {
        let status = self.script(hash)?.status;
        Ok(if status.is_empty() {
            Value::Null
        } else {
            json!(status)
        })
    }

    fn header(&self, height: u32) -> Result<Value> {
        self.node.rpc(
            "getblockheader",
            json!([self.node.block_hash(height)?, false]),
        )
    }

    fn branch(&self, txid: &str, height: &Value) -> Result<Value> {
        let hash = self.node.rpc("getblockhash", json!([height]))?;
        let block = self.node.rpc("getblock", json!([hash, 1]))?;
        let txids: Vec<&str> = block["tx"]
            .as_array()
            .context("no tx")?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let pos = txids
            .iter()
            .position(|found| *found == txid)
            .context("not in this block")?;
        let mut level = txids
            .iter()
            .map(|txid| reversed(txid))
            .collect::<Result<Vec<_>>>()?;
        let (mut at, mut merkle) = (pos, Vec::new());
        while level.len() > 1 {
            let sibling = level
                .get(at ^ 1)
                .or(level.last())
                .context("an empty level")?;
            merkle.push(
                sibling
                    .iter()
                    .rev()
                    .map(|byte| format!("{byte:02x}"))
                    .collect::<String>(),
            );
            let parent = |pair: &[Vec<u8>]| {
                Sha256::digest(Sha256::digest(
                    [&pair[0][..], pair.last().unwrap()].concat(),
                ))
            };
            level = level.chunks(2).map(|pair| parent(pair).to_vec()).collect();
            at /= 2;
        }
        Ok(json!({ "block_height": height, "merkle": merkle, "pos": pos }))
    }
}

fn reversed(hexadecimal: &str) -> Result<Vec<u8>> {
    let pairs = (0..hexadecimal.len()).step_by(2).rev();
    pairs
        .map(|at| Ok(u8::from_str_radix(&hexadecimal[at..at + 2], 16)?))
        .collect()
}
