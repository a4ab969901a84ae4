//! Judges a component before it is compiled: counts what it asks of the compiler, against [`CompileLimits`].
//!
//! ```text
//!   component ─┬─ types, imports, aliases, exports ─▶ shapes: how large with all that is within
//!              ├─ instances ─▶ cost of what is instantiated, added up: the tree, not the text
//!              └─ modules ─▶ code: functions, blocks, branch tables, segments
//! ```
//!
//! Components are written as a graph and compiled as a tree: one that instantiates another twice, which does so too, takes two
//! to the number of levels. So the tree is counted, with sums that saturate, and never built.
//!
//! What is judged is only how much there is. Whether it is valid, the compiler's own checks say.
//!
//! **Components as values.** One that is imported cannot be looked into where it is instantiated; that is refused, as if it
//! were infinitely large. Compilers to components do not make such.
//!
//! Cost: one pass over the bytes. The parser recurses where types are written within types, so their marks are counted before a
//! section is parsed, and this runs on a thread whose stack is large enough for as many as the limit allows.

mod code;
mod shapes;
#[cfg(test)]
mod tests;

use super::GuestError;
use super::bounds::{CompileLimits, Counts, LimitExceeded};
use code::Module;
use shapes::{Cost, Scope, Shape};
use std::collections::HashMap;
use wasmparser::{
    BinaryReaderError, ComponentExternalKind, ComponentInstance, Encoding, Instance, Parser,
    Payload,
};

/// Bytes of stack for each type within another, without optimization.
const STACK_PER_LEVEL: u64 = 16 << 10;
/// Bytes of stack beside that.
const STACK: u64 = 1 << 20;

/// Why judging stopped.
enum Refusal {
    Limit(LimitExceeded),
    /// The bytes are no component.
    Malformed(BinaryReaderError),
    /// The bytes are a module.
    Module,
}

impl From<BinaryReaderError> for Refusal {
    fn from(error: BinaryReaderError) -> Self {
        Self::Malformed(error)
    }
}

impl From<LimitExceeded> for Refusal {
    fn from(limit: LimitExceeded) -> Self {
        Self::Limit(limit)
    }
}

/// Judges a component's bytes.
///
/// # Errors
/// [`GuestError::TooLarge`] with the first limit that it exceeds; [`GuestError::Invalid`] when it cannot be read;
/// [`GuestError::Host`] when there is no thread.
pub(super) fn judge(bytes: &[u8], limits: &CompileLimits) -> Result<(), GuestError> {
    count(bytes, limits).map(drop)
}

/// What was counted.
fn count(bytes: &[u8], limits: &CompileLimits) -> Result<Counts, GuestError> {
    let size = bytes.len() as u64;
    let counts = Counts { bytes: size, ..Counts::default() };
    counts.check(limits).map_err(GuestError::TooLarge)?;
    // A mark is two bytes.
    let levels = limits.nested_types.min(size / 2);
    let stack = levels.saturating_mul(STACK_PER_LEVEL).saturating_add(STACK);
    let stack = usize::try_from(stack).unwrap_or(usize::MAX);
    let judged = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("strandline-judge".to_owned())
            .stack_size(stack)
            .spawn_scoped(scope, || Judge { bytes, limits, counts, scopes: Vec::new() }.walk())
            .map_err(|error| GuestError::Host(format!("no thread to judge a guest: {error}")))?;
        Ok(thread.join())
    })?;
    match judged {
        Ok(Ok(counts)) => Ok(counts),
        Ok(Err(Refusal::Limit(limit))) => Err(GuestError::TooLarge(limit)),
        Ok(Err(Refusal::Malformed(error))) => {
            Err(GuestError::Invalid(wasmtime::Error::msg(error.to_string())))
        }
        Ok(Err(Refusal::Module)) => {
            Err(GuestError::Invalid(wasmtime::Error::msg("it is a module, not a component")))
        }
        Err(_) => Err(GuestError::Host("judging a guest panicked".to_owned())),
    }
}

/// How often a declaration (1) of a type of a component (0x41) or of an instance (0x42) may begin in a section of types: the levels
/// of nesting are no more.
fn marks(section: &[u8]) -> u64 {
    section.windows(2).filter(|pair| matches!(pair, [1, 0x41 | 0x42])).count() as u64
}

/// What of a component is open: components around each other, and within the innermost at most one module.
struct Judge<'l> {
    bytes: &'l [u8],
    limits: &'l CompileLimits,
    counts: Counts,
    scopes: Vec<Scope>,
}

impl Judge<'_> {
    fn check(&self) -> Result<(), Refusal> {
        Ok(self.counts.check(self.limits)?)
    }

    fn enter(&mut self, scope: Scope) -> Result<(), Refusal> {
        self.scopes.push(scope);
        self.counts.depth = self.counts.depth.max(self.scopes.len() as u64);
        self.check()
    }

    fn walk(mut self) -> Result<Counts, Refusal> {
        let mut module: Option<Module> = None;
        for payload in Parser::new(0).parse_all(self.bytes) {
            let payload = payload?;
            match &payload {
                Payload::Version { encoding: Encoding::Component, .. } => {
                    self.enter(Scope::default())?;
                }
                Payload::Version { encoding: Encoding::Module, .. } => {
                    if self.scopes.is_empty() {
                        return Err(Refusal::Module);
                    }
                    self.counts.modules += 1;
                    self.check()?;
                    module = Some(Module::default());
                }
                Payload::End(_) => match (module.take(), self.scopes.len()) {
                    (None, 1) => {
                        let root = self.scopes.pop().unwrap_or_default();
                        self.check_cost(root.cost)?;
                    }
                    (None, _) => self.close_component()?,
                    (Some(_), _) => {}
                },
                payload => match &mut module {
                    Some(module) => self.module(module, payload)?,
                    None => self.component(payload)?,
                },
            }
        }
        Ok(self.counts)
    }

    fn check_cost(&mut self, cost: Cost) -> Result<(), Refusal> {
        self.counts.instances = self.counts.instances.max(cost.instances);
        self.counts.items = self.counts.items.max(cost.items);
        self.check()
    }

    /// A component within another is complete: the one around it can instantiate it.
    fn close_component(&mut self) -> Result<(), Refusal> {
        let Some(scope) = self.scopes.pop() else { return Ok(()) };
        self.check_cost(scope.cost)?;
        if let Some(around) = self.scopes.last_mut() {
            // Defining it costs its text once more: its own cost comes with its instances.
            let shape = scope.close();
            let cost = shape.cost.unwrap_or_default();
            around.cost.items = around.cost.items.saturating_add(cost.items);
            around.push(ComponentExternalKind::Component, shape);
        }
        Ok(())
    }

    fn component(&mut self, payload: &Payload<'_>) -> Result<(), Refusal> {
        match payload {
            Payload::ComponentTypeSection(section) => {
                let bytes = section.range().len() as u64;
                self.counts.type_bytes = self.counts.type_bytes.max(bytes);
                let text = self.bytes.get(section.range()).unwrap_or_default();
                self.counts.nested_types = self.counts.nested_types.max(marks(text));
                self.check()?;
                for ty in section.clone() {
                    self.component_type(&ty?)?;
                }
            }
            Payload::CoreTypeSection(section) => {
                for _ in 0..section.count() {
                    self.core_type();
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    self.import(&import?.ty);
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    self.alias(&alias?);
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section.clone() {
                    self.instance(&instance?)?;
                }
            }
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    let items = match instance? {
                        Instance::Instantiate { args, .. } => {
                            self.cost(Cost { instances: 1, items: 0 })?;
                            args.len()
                        }
                        Instance::FromExports(exports) => exports.len(),
                    };
                    self.cost(Cost { instances: 0, items: 1 + items as u64 })?;
                }
            }
            Payload::ComponentCanonicalSection(section) => self.canonicals(section)?,
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    let export = export?;
                    let Some(scope) = self.scopes.last_mut() else { continue };
                    let shape = scope.get(export.kind, export.index);
                    let cost = shape.cost;
                    let shape = export.ty.as_ref().map_or(shape, |ty| scope.referred(ty));
                    // What is exported stays what it is, under another type maybe.
                    scope.export(export.name.name, export.kind, Shape { cost, ..shape });
                }
            }
            _ => {}
        }
        let cost = self.scopes.last().map(|scope| scope.cost).unwrap_or_default();
        self.check_cost(cost)
    }

    /// Functions are lifted, or lowered to what the compiler makes an adapter of.
    fn canonicals(
        &mut self,
        section: &wasmparser::ComponentCanonicalSectionReader<'_>,
    ) -> Result<(), Refusal> {
        use wasmparser::CanonicalFunction::{Lift, Lower};
        for canonical in section.clone() {
            let Some(scope) = self.scopes.last_mut() else { continue };
            match canonical? {
                Lift { type_index, .. } => {
                    let shape = scope.get(ComponentExternalKind::Type, type_index);
                    scope.push(ComponentExternalKind::Func, Shape::of_size(shape.size));
                }
                Lower { func_index, .. } => {
                    let shape = scope.get(ComponentExternalKind::Func, func_index);
                    scope.push(ComponentExternalKind::Module, Shape::of_size(shape.size));
                }
                _ => scope.push(ComponentExternalKind::Module, Shape::of_size(1)),
            }
        }
        Ok(())
    }

    fn cost(&mut self, cost: Cost) -> Result<(), Refusal> {
        let Some(scope) = self.scopes.last_mut() else { return Ok(()) };
        scope.cost.add(cost);
        let all = scope.cost;
        self.check_cost(all)
    }

    fn instance(&mut self, instance: &ComponentInstance<'_>) -> Result<(), Refusal> {
        let Some(scope) = self.scopes.last_mut() else { return Ok(()) };
        let (shape, mut cost) = match instance {
            ComponentInstance::Instantiate { component_index, args } => {
                let component = scope.get(ComponentExternalKind::Component, *component_index);
                let infinite = Cost { instances: u64::MAX, items: u64::MAX };
                let mut cost = component.cost.unwrap_or(infinite);
                cost.add(Cost { instances: 1, items: args.len() as u64 });
                (Shape { cost: None, ..component }, cost)
            }
            ComponentInstance::FromExports(exports) => {
                let mut shapes = HashMap::new();
                let mut size: u64 = 1;
                for export in exports {
                    let shape = scope.get(export.kind, export.index);
                    size = size.saturating_add(shape.size);
                    shapes.insert(export.name.name.to_owned(), shape);
                }
                (Shape::with_exports(size, shapes), Cost::default())
            }
        };
        // Pushing it adds its size: what the compiler keeps of an instance is a table of its exports.
        cost.add(Cost { instances: 0, items: 1 });
        scope.push(ComponentExternalKind::Instance, shape);
        self.cost(cost)
    }
}
