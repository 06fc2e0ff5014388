//! What a peer says to whom has dialled it.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use super::transport::{Form, Wire, beginning};
use super::{Manner, Message, Moment, Transport, Visit};

const PROTOCOL_VERSION: i32 = 70016;
/// Whole blocks, witnesses, and those of the last days.
const SERVICES: u64 = 1 | 8 | 1024;
const USER_AGENT: &[u8] = b"/Satoshi:29.0.0/";
/// A message that no node sends, and how many of them a flood is.
const FLOOD_BYTES: usize = 4_000_000;
const FLOODS: usize = 16;
/// What a node lets pass between an announcement by somebody unknown and its question.
const HESITATION: Duration = Duration::from_secs(4);
const SLOWNESS: Duration = Duration::from_secs(1);
/// Longer than a dialler may wait for a version.
const SLOW_BYTES: usize = 120;

/// Talks until one side closes; `learn` keeps what was learnt. An error is a fault of the visitor, or a connection
/// that broke.
pub(super) fn talk(
    stream: TcpStream,
    manner: Manner,
    learn: impl Fn(&mut dyn FnMut(&mut Visit)),
) -> Result<()> {
    if manner == Manner::Closes(Moment::Start) {
        return Ok(());
    }
    stream.set_nodelay(true)?;
    let transport = beginning(&stream)?;
    learn(&mut |visit| visit.transport = Some(transport));
    match manner {
        Manner::Slow => return slowly(&stream, transport),
        Manner::Floods(Moment::Start) => return flood_at_once(&stream, transport),
        _ => {}
    }
    let mut wire = Wire::accept(stream, transport)?;
    while let Some(message) = wire.read()? {
        learn(&mut |visit| visit.messages.push(message.clone()));
        if !answer(&mut wire, manner, &message)? {
            wire.close();
            break;
        }
    }
    Ok(())
}

/// Whether the connection goes on.
fn answer(wire: &mut Wire, manner: Manner, message: &Message) -> Result<bool> {
    match message.command.as_str() {
        "version" => {
            wire.send("version", &version(manner))?;
            if let Some(goes_on) = misbehave(wire, manner, Moment::Version)? {
                return Ok(goes_on);
            }
            for command in ["wtxidrelay", "sendaddrv2", "verack"] {
                wire.send(command, &[])?;
            }
        }
        "verack" => {
            wire.send("sendcmpct", &[0, 2, 0, 0, 0, 0, 0, 0, 0])?;
            wire.send("ping", &[7; 8])?;
            wire.send("feefilter", &1_000_u64.to_le_bytes())?;
        }
        "inv" => {
            if let Some(goes_on) = misbehave(wire, manner, Moment::Inv)? {
                return Ok(goes_on);
            }
            match manner {
                Manner::NeverAsks => {}
                Manner::AsksElse => {
                    let mut other = message.payload.clone();
                    *other.last_mut().context("an empty inv")? ^= 1;
                    wire.send("getdata", &other)?;
                }
                _ => {
                    if manner == Manner::Hesitates {
                        std::thread::sleep(HESITATION);
                    }
                    wire.send("getdata", &message.payload)?;
                }
            }
        }
        "ping" => wire.send("pong", &message.payload)?,
        _ => {}
    }
    Ok(true)
}

/// Does what the manner has for this moment; `None` if it has nothing, else whether the connection goes on.
fn misbehave(wire: &mut Wire, manner: Manner, now: Moment) -> Result<Option<bool>> {
    match manner {
        Manner::Closes(moment) if moment == now => Ok(Some(false)),
        Manner::Garbles(moment) if moment == now => {
            let command = if now == Moment::Inv { "pong" } else { "verack" };
            let garbled = wire.pack(command, &[7; 8], Form::Garbled);
            wire.send_bytes(&garbled)?;
            Ok(Some(true))
        }
        Manner::Floods(moment) if moment == now => {
            for _ in 0..FLOODS {
                let message = wire.pack("getdata", &vec![7; FLOOD_BYTES], Form::Right);
                wire.send_bytes(&message)?;
            }
            Ok(Some(true))
        }
        _ => Ok(None),
    }
}

/// One byte after the other: of what may be a version, or of what may be a key and what follows it.
fn slowly(mut stream: &TcpStream, transport: Transport) -> Result<()> {
    let bytes = match transport {
        Transport::V1 => [
            b"\xfa\xbf\xb5\xdaversion\0\0\0\0\0".as_slice(),
            &[100, 0, 0, 0],
        ]
        .concat(),
        Transport::V2 => Vec::new(),
    };
    let filling = std::iter::repeat(7);
    for byte in bytes.into_iter().chain(filling).take(SLOW_BYTES) {
        stream.write_all(&[byte])?;
        std::thread::sleep(SLOWNESS);
    }
    Ok(())
}

/// Without anything before it: to BIP 324 it is a key and garbage that does not end.
fn flood_at_once(mut stream: &TcpStream, transport: Transport) -> Result<()> {
    if transport == Transport::V1 {
        let length = u32::try_from(FLOOD_BYTES)?.to_le_bytes();
        stream.write_all(b"\xfa\xbf\xb5\xdaversion\0\0\0\0\0")?;
        stream.write_all(&length)?;
    }
    for _ in 0..FLOODS {
        stream.write_all(&vec![7; FLOOD_BYTES])?;
    }
    Ok(())
}

/// The version of a node that was started today.
fn version(manner: Manner) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let height = match manner {
        Manner::Height(height) => height,
        _ => 0,
    };
    let relay = u8::from(manner != Manner::NoRelay);
    let nobody = [0; 26];
    let mut payload = Vec::new();
    payload.extend(PROTOCOL_VERSION.to_le_bytes());
    payload.extend(SERVICES.to_le_bytes());
    payload.extend(now.to_le_bytes());
    payload.extend([nobody, nobody].concat());
    payload.extend([0x11; 8]);
    payload.push(u8::try_from(USER_AGENT.len()).unwrap_or_default());
    payload.extend(USER_AGENT);
    payload.extend(height.to_le_bytes());
    payload.push(relay);
    payload
}
