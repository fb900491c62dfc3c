//! The healing ladder: what a failed call means, and what is done so that the next one works.
//!
//! | the token says | rung |
//! |---|---|
//! | operation active, session invalid, not logged in | new session (and login) |
//! | object handle invalid | find again |
//! | no object, for a key that is known to exist | the token is lost |
//! | one key (by its id) twice | the token is lost |
//! | device error and its kin | the token is lost |
//! | general error | the probe decides: the token is lost, or it is this call's fault |
//!
//! A lost token is brought back by [`super::library::Library::revive`], behind the barrier. INVARIANT: no rung ever
//! makes a key, and a generation is never repeated without looking for its key first.

use std::sync::Arc;
use std::time::Instant;

use cryptoki::error::{Error as Pkcs11Error, RvError};

use super::error::HsmError;
use super::library::{Lease, Pass};
use super::token::{Fault, Place, Seat};

/// How often one call may climb before it gives up.
const CLIMBS: usize = 6;

/// A worker's place of work: its share in the library and its session, if it has one.
pub(super) struct Station {
    lease: Arc<Lease>,
    place: Arc<Place>,
    seat: Option<Seat>,
}

/// What a general error means if the token proves to be well.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Suspect {
    /// The input: SoftHSM answers a wrong tag so.
    Data,
    /// Nobody; the call failed.
    Device,
}

#[derive(Debug, PartialEq, Eq)]
enum Rung {
    FindAgain,
    Lost,
    NewSession,
    Probe,
    Refuse,
}

fn rung(error: &Pkcs11Error) -> Rung {
    let Pkcs11Error::Pkcs11(error, _) = error else {
        return Rung::Refuse;
    };
    match error {
        RvError::ObjectHandleInvalid
        | RvError::KeyHandleInvalid
        | RvError::UnwrappingKeyHandleInvalid
        | RvError::WrappingKeyHandleInvalid => Rung::FindAgain,
        RvError::OperationActive
        | RvError::OperationNotInitialized
        | RvError::SessionClosed
        | RvError::SessionHandleInvalid
        | RvError::UserNotLoggedIn => Rung::NewSession,
        RvError::CryptokiNotInitialized
        | RvError::DeviceError
        | RvError::DeviceMemory
        | RvError::DeviceRemoved
        | RvError::SlotIdInvalid
        | RvError::TokenNotPresent
        | RvError::TokenNotRecognized => Rung::Lost,
        RvError::FunctionFailed | RvError::GeneralError => Rung::Probe,
        _ => Rung::Refuse,
    }
}

/// What one look at a fault led to.
enum Step {
    /// Tried again in the same library.
    Again(String),
    /// Only a new initialisation helps.
    Lost(String),
    Stop(HsmError),
}

impl Station {
    /// Without a session; it is opened by the first call.
    pub(super) fn new(lease: &Arc<Lease>, place: &Arc<Place>) -> Self {
        Self {
            lease: Arc::clone(lease),
            place: Arc::clone(place),
            seat: None,
        }
    }

    /// Opens the session now and heals nothing: what is wrong when the service starts is told to whoever starts it.
    pub(super) fn sit(&mut self) -> Result<(), HsmError> {
        let pass = self.lease.library().enter();
        let seat = Seat::open(&pass, &self.place).map_err(|fault| match fault {
            Fault::Doubled(_) | Fault::Missing(_) | Fault::NoToken => HsmError::NoToken(self.place.label.clone()),
            Fault::Pkcs11(error) => HsmError::device(&error),
            Fault::Refused(error) => error,
        })?;
        self.seat = Some(seat);
        Ok(())
    }

    /// Runs `work`, climbing the ladder while there is time.
    pub(super) fn run<T>(
        &mut self,
        until: Instant,
        suspect: Suspect,
        work: impl Fn(&mut Seat, &Pass<'_>) -> Result<T, Fault>,
    ) -> Result<T, HsmError> {
        let lease = Arc::clone(&self.lease);
        let library = lease.library();
        let mut was_lost = false;
        let mut last = String::new();
        for _ in 0..CLIMBS {
            let pass = library.enter();
            let fault = match self.seat(&pass).and_then(|seat| work(seat, &pass)) {
                Ok(value) => {
                    if was_lost {
                        library.revived();
                    }
                    return Ok(value);
                }
                Err(fault) => fault,
            };
            match self.judge(fault, suspect) {
                Step::Stop(error) => return Err(error),
                Step::Again(why) => last = why,
                Step::Lost(why) => {
                    let seen = pass.epoch();
                    drop(pass);
                    self.seat = None;
                    was_lost = true;
                    library.revive(seen, &why)?;
                    last = why;
                }
            }
            if Instant::now() >= until {
                break;
            }
        }
        if was_lost {
            Err(HsmError::TokenLost(last))
        } else {
            Err(HsmError::Device(last))
        }
    }

    fn seat(&mut self, pass: &Pass<'_>) -> Result<&mut Seat, Fault> {
        // A seat of an earlier initialisation is void; its session's number may be somebody else's by now.
        let seat = match self.seat.take() {
            Some(seat) if seat.epoch == pass.epoch() => seat,
            Some(_) | None => Seat::open(pass, &self.place)?,
        };
        Ok(self.seat.insert(seat))
    }

    fn judge(&mut self, fault: Fault, suspect: Suspect) -> Step {
        match fault {
            Fault::Doubled(label) => Step::Lost(format!("it shows the key `{label}` twice under one id")),
            Fault::Refused(error) => Step::Stop(error),
            Fault::NoToken => Step::Lost(format!("no slot holds the token `{}`", self.place.label)),
            Fault::Missing(label) => match &self.seat {
                // Private objects are hidden from a session that is not logged in.
                Some(seat) if !seat.is_logged_in() => self.new_session(format!("the key `{label}` is hidden")),
                Some(_) | None => Step::Lost(format!("it no longer shows the key `{label}`")),
            },
            Fault::Pkcs11(error) => match rung(&error) {
                Rung::NewSession => self.new_session(error.to_string()),
                Rung::FindAgain => {
                    if let Some(seat) = &mut self.seat {
                        seat.forget_handles();
                    }
                    Step::Again(error.to_string())
                }
                Rung::Lost => Step::Lost(error.to_string()),
                // Without a session it was the opening that failed, and no data was in play.
                Rung::Probe => match self.seat.as_ref().map(Seat::probe) {
                    Some(Ok(())) if suspect == Suspect::Data => {
                        Step::Stop(HsmError::Data("it does not open: wrong key, nonce, context or tag"))
                    }
                    Some(Ok(())) => Step::Stop(HsmError::device(&error)),
                    Some(Err(_)) | None => Step::Lost(error.to_string()),
                },
                Rung::Refuse => Step::Stop(refusal(&error, suspect)),
            },
        }
    }

    fn new_session(&mut self, why: String) -> Step {
        if let Some(seat) = self.seat.take() {
            seat.leave();
        }
        Step::Again(why)
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        let pass = self.lease.library().enter();
        if let Some(seat) = self.seat.take()
            && seat.epoch == pass.epoch()
        {
            seat.leave();
        }
        if Arc::strong_count(&self.place) == 1 {
            self.place.inside.leave(pass.epoch());
        }
    }
}

fn refusal(error: &Pkcs11Error, suspect: Suspect) -> HsmError {
    match error {
        Pkcs11Error::Pkcs11(RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange, _) => {
            HsmError::Data("it does not open: wrong key, nonce, context or tag")
        }
        Pkcs11Error::Pkcs11(RvError::MechanismInvalid | RvError::MechanismParamInvalid, function) => {
            HsmError::Unsupported(format!("the mechanism asked of it ({function:?})"))
        }
        // Some tokens have only this word for a wrong tag.
        Pkcs11Error::Pkcs11(RvError::DataInvalid, _) if suspect == Suspect::Data => {
            HsmError::Data("it does not open: wrong key, nonce, context or tag")
        }
        error => HsmError::device(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki::context::Function;

    #[test]
    fn each_word_of_the_token_has_its_rung() {
        for (word, expected) in [
            (RvError::OperationActive, Rung::NewSession),
            (RvError::SessionHandleInvalid, Rung::NewSession),
            (RvError::UserNotLoggedIn, Rung::NewSession),
            (RvError::ObjectHandleInvalid, Rung::FindAgain),
            (RvError::KeyHandleInvalid, Rung::FindAgain),
            (RvError::DeviceError, Rung::Lost),
            (RvError::TokenNotPresent, Rung::Lost),
            (RvError::CryptokiNotInitialized, Rung::Lost),
            (RvError::GeneralError, Rung::Probe),
            (RvError::DataLenRange, Rung::Refuse),
            (RvError::KeyFunctionNotPermitted, Rung::Refuse),
        ] {
            assert_eq!(rung(&Pkcs11Error::Pkcs11(word, Function::Sign)), expected, "{word:?}");
        }
        assert_eq!(rung(&Pkcs11Error::NotSupported), Rung::Refuse);
    }
}
