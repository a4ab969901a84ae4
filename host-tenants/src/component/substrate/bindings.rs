//! Generated from `wit/`: the world `substrate`, seen from the host.

wasmtime::component::bindgen!({
    path: "wit",
    world: "substrate",
    imports: { default: trappable },
    ownership: Borrowing { duplicate_if_necessary: false },
    with: {
        "strandline:substrate/slabs.provider": crate::component::substrate::imports::Supplier,
    },
});
