//! Keys of ours to the far end.
//!
//! | The call | Its keys travel | What is done |
//! |---|---|---|
//! | is not live | | not live |
//! | is live | by INFO | an INFO for each, one after the other |
//! | is on hold | in the stream | on hold: nothing could be heard |
//! | is live | as events, but the far end agreed to none | no way |
//! | is live | in the stream | handed to the leg; full when it has no room for them |

use tokio::sync::oneshot;

use super::{Actor, wire};
use crate::call::keys::{Keys, KeysError};
use crate::call::machine::State;
use crate::media::KeyWay;

pub(in crate::call) type Reply = oneshot::Sender<Result<(), KeysError>>;

impl Actor {
    pub(super) fn on_keys_order(&self, keys: Keys, reply: Reply) {
        // Whoever asked may have gone away, here and below.
        match self.press(keys) {
            Ok(None) => {
                let _ = reply.send(Ok(()));
            }
            Ok(Some(taken)) => {
                tokio::spawn(async move {
                    let answer = match taken.await {
                        Ok(true) => Ok(()),
                        Ok(false) => Err(KeysError::Full),
                        Err(_) => Err(KeysError::NotLive),
                    };
                    let _ = reply.send(answer);
                });
            }
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    /// Sends them on their way; where they travel in the stream, the leg has the last word.
    fn press(&self, keys: Keys) -> Result<Option<oneshot::Receiver<bool>>, KeysError> {
        let live = matches!(self.state, State::Talking { .. } | State::Stopping { .. });
        let (Some(sip), Some(media), true) = (&self.sip, &self.media, live) else { return Err(KeysError::NotLive) };
        let remote = media.remote.as_ref().ok_or(KeysError::NotLive)?;
        let events = remote.telephone_event.is_some();
        match wire::key_way(self.room.trunk(&self.line.trunk), events) {
            KeyWay::Signalling => {
                keys.into_text().chars().for_each(|key| sip.control.press(key));
                Ok(None)
            }
            _ if !remote.send => Err(KeysError::OnHold),
            KeyWay::Events if !events => Err(KeysError::NoWay),
            KeyWay::Events | KeyWay::Tones => Ok(Some(media.leg.control.press(keys.into_text()))),
        }
    }
}
