//! Makes a token, for those who try things out: a token for real is made by whoever keeps its security officer's PIN.

use std::path::Path;

use cryptoki::session::UserType;
use cryptoki::types::{AuthPin, RawAuthPin};

use super::error::HsmError;
use super::library::Lease;
use crate::secret::Secret;

/// Makes a token labelled `label` in a free slot, with these PINs, unless there is one. May be called again after it
/// was interrupted; must not be called while a door is open.
///
/// # Errors
/// `Module`, `NoToken` if no slot is free, `Device`.
pub fn initialise(module: &Path, label: &str, so_pin: &Secret, pin: &Secret) -> Result<(), HsmError> {
    let lease = Lease::take(module)?;
    let pass = lease.library().enter();
    let pkcs11 = pass.pkcs11().ok_or_else(|| HsmError::NoToken(label.to_owned()))?;
    let broken = |error| HsmError::device(&error);
    let so_text = std::str::from_utf8(so_pin.expose()).map_err(|_| HsmError::Data("a PIN is text"))?;
    let so = AuthPin::new(so_text.to_owned().into_boxed_str());

    let labelled = || -> Result<_, HsmError> {
        for slot in pkcs11.get_slots_with_initialized_token().map_err(broken)? {
            let info = pkcs11.get_token_info(slot).map_err(broken)?;
            if info.label() == label {
                return Ok(Some((slot, info.user_pin_initialized())));
            }
        }
        Ok(None)
    };
    if labelled()?.is_none() {
        let mut free = None;
        for slot in pkcs11.get_slots_with_token().map_err(broken)? {
            if !pkcs11.get_token_info(slot).map_err(broken)?.token_initialized() {
                free = Some(slot);
                break;
            }
        }
        let slot = free.ok_or_else(|| HsmError::NoToken(label.to_owned()))?;
        pkcs11.init_token(slot, &so, label).map_err(broken)?;
    }
    // SoftHSM gives a token another slot once it is initialised.
    let (slot, has_pin) = labelled()?.ok_or_else(|| HsmError::NoToken(label.to_owned()))?;
    if !has_pin {
        let session = pkcs11.open_rw_session(slot).map_err(broken)?;
        session
            .login_with_raw(UserType::So, &RawAuthPin::new(Box::new(so_pin.expose().to_vec())))
            .map_err(broken)?;
        let text = std::str::from_utf8(pin.expose()).map_err(|_| HsmError::Data("a PIN is text"))?;
        session
            .init_pin(&AuthPin::new(text.to_owned().into_boxed_str()))
            .map_err(broken)?;
        // Its end is the security officer's logout: no other session is open.
        drop(session);
    }
    Ok(())
}
