//! Generated from `wit/`: the world `substrate-with-plans`, of which a component may have all or all but `plans`, seen from the host.

wasmtime::component::bindgen!({
    path: "wit",
    world: "substrate-with-plans",
    imports: { default: trappable },
    ownership: Borrowing { duplicate_if_necessary: false },
    with: {
        "strandline:substrate/slabs.provider": crate::component::substrate::imports::Supplier,
    },
});
