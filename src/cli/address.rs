//! The onion address as a person hands it to a wallet: a QR code, and the words to type.

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

use crate::door;

/// Black on white, whatever the terminal's own colours: not every camera reads an inverted code.
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
const PLAIN: &str = "\x1b[0m";

/// Where the text goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    /// A terminal, which knows colours.
    Terminal,
    /// A file or another program.
    Plain,
}

/// What `claustrum address` prints, and `claustrum run` on a terminal.
///
/// `address` is the onion address in full; it is printed nowhere else.
pub(super) fn text(address: &str, medium: Medium) -> String {
    let port = door::PORT;
    let electrum = format!("{address}:{port}:t");
    let code = QrCode::with_error_correction_level(&electrum, EcLevel::L);
    // 70 characters always fit; without a code the words below still do.
    let code = code.map_or(String::new(), |code| code.render::<Dense1x2>().build());
    let code = match medium {
        Medium::Plain => code,
        Medium::Terminal => code
            .lines()
            .map(|line| format!("{BLACK_ON_WHITE}{line}{PLAIN}\n"))
            .collect(),
    };
    format!(
        "{code}\n\n\
         Electrum    {electrum}\n\
         Sparrow     tcp://{address}:{port}\n\
         BlueWallet  host {address}, port {port}, without SSL\n\n\
         Whoever knows this address can use this server. The wallet's device needs Tor.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_for_each_wallet_are_there() {
        let address = format!("{}.onion", "a".repeat(56));
        let text = text(&address, Medium::Plain);
        for words in [
            format!("{address}:50001:t"),
            format!("tcp://{address}:50001"),
            format!("host {address}, port 50001"),
        ] {
            assert!(text.contains(&words), "{words}");
        }
        // The code is drawn with half blocks, in lines of equal width.
        let code: Vec<_> = text.lines().take_while(|line| !line.is_empty()).collect();
        assert!(code.len() >= 17, "{}", code.len());
        assert!(
            code.iter()
                .all(|line| line.chars().count() == code[0].chars().count())
        );
    }
}
