//! Counts what a core module asks of the compiler.
//!
//! Cost: one pass over the module's bytes.

use super::{Judge, Refusal};
use wasmparser::{
    CompositeInnerType, ElementItems, FunctionBody, Operator, Payload, TableInit, TypeRef,
};

/// What a module's functions have in common.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// The most results of any of its types: what a branch may carry.
    results: u64,
}

impl Judge<'_> {
    /// Counts one part of a module. Sections of components are none of it.
    pub(super) fn module(
        &mut self,
        module: &mut Module,
        payload: &Payload<'_>,
    ) -> Result<(), Refusal> {
        let counts = &mut self.counts;
        match payload {
            Payload::TypeSection(section) => {
                counts.declarations += u64::from(section.count());
                self.check()?;
                for group in section.clone() {
                    for ty in group?.types() {
                        let CompositeInnerType::Func(ty) = &ty.composite_type.inner else {
                            continue;
                        };
                        let results = ty.results().len() as u64;
                        let arity = (ty.params().len() as u64).max(results);
                        self.counts.arity = self.counts.arity.max(arity);
                        module.results = module.results.max(results);
                    }
                }
            }
            Payload::ImportSection(section) => {
                counts.externs += u64::from(section.count());
                self.check()?;
                for import in section.clone().into_imports() {
                    match import?.ty {
                        TypeRef::Func(_) | TypeRef::FuncExact(_) => self.counts.functions += 1,
                        TypeRef::Table(_) => self.counts.tables += 1,
                        TypeRef::Memory(_) => self.counts.memories += 1,
                        TypeRef::Global(_) | TypeRef::Tag(_) => self.counts.declarations += 1,
                    }
                }
            }
            Payload::ExportSection(section) => counts.externs += u64::from(section.count()),
            Payload::FunctionSection(section) => counts.functions += u64::from(section.count()),
            Payload::TagSection(section) => counts.declarations += u64::from(section.count()),
            Payload::GlobalSection(section) => {
                // Each initializer is a small function.
                counts.declarations += u64::from(section.count());
                counts.code_bytes += section.range().len() as u64;
            }
            Payload::MemorySection(section) => counts.memories += u64::from(section.count()),
            Payload::TableSection(section) => {
                counts.tables += u64::from(section.count());
                self.check()?;
                for table in section.clone() {
                    let table = table?;
                    let elements = &mut self.counts.table_elements;
                    *elements = elements.saturating_add(table.ty.initial);
                    if let TableInit::Expr(_) = table.init {
                        self.counts.declarations += 1;
                    }
                }
            }
            Payload::ElementSection(section) => {
                counts.segments += u64::from(section.count());
                self.check()?;
                for segment in section.clone() {
                    let elements = match segment?.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    };
                    self.counts.table_elements =
                        self.counts.table_elements.saturating_add(u64::from(elements));
                }
            }
            Payload::DataSection(section) => counts.segments += u64::from(section.count()),
            Payload::CodeSectionStart { count, size, .. } => {
                counts.functions = counts.functions.max(u64::from(*count));
                counts.code_bytes += u64::from(*size);
            }
            Payload::CodeSectionEntry(body) => {
                counts.function_bytes = counts.function_bytes.max(body.range().len() as u64);
                self.check()?;
                self.function(module, body)?;
            }
            _ => {}
        }
        self.check()
    }

    fn function(&mut self, module: &Module, body: &FunctionBody<'_>) -> Result<(), Refusal> {
        let mut locals: u64 = 0;
        for group in body.get_locals_reader()? {
            locals = locals.saturating_add(u64::from(group?.0));
        }
        let counts = &mut self.counts;
        counts.locals = counts.locals.max(locals);
        counts.all_locals = counts.all_locals.saturating_add(locals);
        self.check()?;
        // Whether each open block is a loop.
        let mut open: Vec<bool> = Vec::new();
        let (mut nested, mut loops): (u64, u64) = (0, 0);
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let opens = match operators.read()? {
                Operator::Loop { .. } => {
                    loops += 1;
                    nested += 1;
                    Some(true)
                }
                Operator::Block { .. } | Operator::If { .. } | Operator::TryTable { .. } => {
                    Some(false)
                }
                Operator::End => {
                    nested -= u64::from(open.pop() == Some(true));
                    None
                }
                Operator::BrTable { targets } => {
                    let targets = u64::from(targets.len()) + 1;
                    self.counts.targets += targets.saturating_mul(1 + module.results);
                    self.check()?;
                    None
                }
                _ => None,
            };
            if let Some(is_loop) = opens {
                open.push(is_loop);
                let counts = &mut self.counts;
                counts.blocks = counts.blocks.max(open.len() as u64);
                counts.loops = counts.loops.max(nested);
                counts.loop_locals = counts.loop_locals.max(loops.saturating_mul(locals));
                self.check()?;
            }
        }
        Ok(())
    }
}
