use rig::tor_network::{ONION_PORT, TorNetwork, start_echo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::{Settings, Tor};

fn network() -> &'static TorNetwork {
    TorNetwork::shared().unwrap()
}

async fn tor(folder: &tempfile::TempDir) -> Tor {
    let settings = Settings {
        state_dir: folder.path().join("state"),
        cache_dir: folder.path().join("cache"),
        network_fragment: Some(std::fs::read_to_string(network().arti_config()).unwrap()),
        memory_max: 160 << 20,
        memory_low_water: 112 << 20,
    };
    Tor::create(&settings).await.unwrap()
}

async fn echo(stream: &mut OutgoingStream) {
    stream.write_all(b"one").await.unwrap();
    stream.flush().await.unwrap();
    let mut got = [0; 3];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"one");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_and_an_onion_service_are_reached() {
    let folder = tempfile::tempdir().unwrap();
    let port = start_echo().unwrap();
    let host = network().add_onion_service(port).unwrap();
    let tor = tor(&folder).await;
    tor.bootstrap().await.unwrap();
    let outgoing = tor.outgoing();
    let exit = Destination::Exit(([127, 0, 0, 1], port).into());
    let onion = Destination::Onion {
        host,
        port: ONION_PORT,
    };
    for to in [&exit, &onion, &exit, &onion] {
        let mut stream = outgoing.dial(to).await.unwrap();
        echo(&mut stream).await;
    }
}
