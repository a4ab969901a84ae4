//! Which kernel interface event loops run on here.

use crate::args::ProactorArg;
use crate::output::Error;
use strandline_host_native::proactor::{Proactor, ProactorKind};

impl From<ProactorArg> for ProactorKind {
    fn from(arg: ProactorArg) -> Self {
        match arg {
            ProactorArg::IoUring => Self::IoUring,
            ProactorArg::Poll => Self::Poll,
        }
    }
}

/// What an event loop gets.
pub(crate) struct Running {
    pub(crate) name: String,
    /// Why it is not a better one.
    pub(crate) reason: Option<String>,
}

/// Makes a proactor, of `forced` kind if one is given.
pub(crate) fn running(forced: Option<ProactorArg>) -> Result<Running, Error> {
    if let Some(kind) = forced {
        let proactor = Proactor::builder().kind(kind.into()).build()?;
        return Ok(Running { name: proactor.kind().to_string(), reason: None });
    }
    let reason = Proactor::builder().kind(ProactorKind::IoUring).build().err();
    let reason = reason.map(|error| error.to_string());
    Ok(Running { name: Proactor::new()?.kind().to_string(), reason })
}
