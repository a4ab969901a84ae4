//! Faults that are planted to see that the simulation finds them: each breaks one of the rules.

/// See the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    None,
    /// Clocks are off by more than the owner allows for.
    Drift,
    /// Members touch memory without asking for how long they may.
    TouchUnasked,
    /// Whatever renewal is acknowledged, the member takes it for the latest that it sent.
    AcknowledgeLatest,
    /// The host says that a member is fenced while its device goes on.
    FenceUnfenced,
    /// A call that is sent again has another number.
    RenumberRetries,
    /// The host vouches for whoever speaks.
    VouchForAll,
    /// Members say that they have reached one epoch more than they have.
    RunAhead,
    /// Work begins on what another holds before the owner knows of it.
    ShareUnanswered,
    /// The owner's host writes what it was sent, whatever has become of the key.
    WriteUnasked,
    /// A release does not say what its uses have yet to reach.
    ForgetUses,
}
