//! Where there is no Linux there are no event loops yet.

use crate::args::ProactorArg;
use crate::output::Error;

pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) reason: Option<String>,
}

pub(crate) fn running(forced: Option<ProactorArg>) -> Result<Running, Error> {
    match forced {
        Some(_) => Err("event loops need Linux".into()),
        None => Ok(Running { name: "none".into(), reason: Some("they need Linux".into()) }),
    }
}
