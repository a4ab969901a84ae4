//! What the component exports: all of the world `substrate`, and `plans` where it is of the world `substrate-with-plans`.

use super::bindings::exports::strandline::substrate::{authority, inspect, plans, pools};
use super::state::State;
use wasmtime::component::InstancePre;
use wasmtime::{Engine, Result, Store};

/// The exports of an instance.
pub(super) struct World {
    authority: authority::Guest,
    inspect: inspect::Guest,
    pools: pools::Guest,
    plans: Option<plans::Guest>,
}

impl World {
    pub(super) const fn authority(&self) -> &authority::Guest {
        &self.authority
    }

    pub(super) const fn inspect(&self) -> &inspect::Guest {
        &self.inspect
    }

    pub(super) const fn pools(&self) -> &pools::Guest {
        &self.pools
    }

    /// None of a component without plans.
    pub(super) const fn plans(&self) -> Option<&plans::Guest> {
        self.plans.as_ref()
    }
}

/// Where the exports are in a component whose imports are given.
pub(super) struct WorldPre {
    pre: InstancePre<State>,
    authority: authority::GuestIndices,
    inspect: inspect::GuestIndices,
    pools: pools::GuestIndices,
    plans: Option<plans::GuestIndices>,
}

impl WorldPre {
    pub(super) fn new(pre: InstancePre<State>) -> Result<Self> {
        let has_plans = pre.component().get_export_index(None, PLANS).is_some();
        let plans = has_plans.then(|| plans::GuestIndices::new(&pre)).transpose()?;
        Ok(Self {
            authority: authority::GuestIndices::new(&pre)?,
            inspect: inspect::GuestIndices::new(&pre)?,
            pools: pools::GuestIndices::new(&pre)?,
            plans,
            pre,
        })
    }

    pub(super) fn engine(&self) -> &Engine {
        self.pre.engine()
    }

    pub(super) const fn instance_pre(&self) -> &InstancePre<State> {
        &self.pre
    }

    pub(super) const fn has_plans(&self) -> bool {
        self.plans.is_some()
    }

    pub(super) fn instantiate(&self, store: &mut Store<State>) -> Result<World> {
        let instance = self.pre.instantiate(&mut *store)?;
        let plans = self.plans.as_ref();
        Ok(World {
            authority: self.authority.load(&mut *store, &instance)?,
            inspect: self.inspect.load(&mut *store, &instance)?,
            pools: self.pools.load(&mut *store, &instance)?,
            plans: plans.map(|plans| plans.load(&mut *store, &instance)).transpose()?,
        })
    }
}

const PLANS: &str = "strandline:substrate/plans@0.1.0";
