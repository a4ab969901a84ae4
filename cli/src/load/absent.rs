//! `strandline load` where there is no Linux: a clear refusal.

use crate::Ending;
use crate::args::LoadArgs;
use crate::output::Error;

pub(crate) fn run(_: &LoadArgs) -> Result<Ending, Error> {
    Err("load needs Linux: it reads through io_uring or poll".into())
}
