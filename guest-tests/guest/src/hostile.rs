//! What a guest may try against its host.
pub(crate) async fn run(program: &str, _arguments: &[alloc::string::String]) -> Result<alloc::string::String, alloc::string::String> {
    Err(alloc::format!("no program is called {program}"))
}
