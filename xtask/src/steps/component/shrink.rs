//! Shortens the names inside a component that nobody outside can see, and drops what is there for debuggers.
//!
//! ```text
//!   component ─┬─ core module    exports "strandline:substrate/pools@0.1.0#[method]pool.acquire"   ─▶ "a"
//!              ├─ aliases        name each of them again                                            ─▶ "a"
//!              ├─ nested one     imports "import-method-pool-acquire", exports it with its types   ─▶ "b"
//!              └─ instance of it names each of them again                                           ─▶ "b"
//! ```
//!
//! A component is linked to its host by the names of its own imports and exports; those stay. All other names only
//! link its parts to each other, so any will do that are different where the old ones were. Custom sections have
//! no meaning. A nested component writes out types that the outer one has already; where they are made of
//! primitive ones alone, it says which instead. The result is validated.

use std::collections::HashMap;
use std::convert::Infallible;

use wasm_encoder::reencode::{Error, Reencode, ReencodeComponent};
use wasm_encoder::{
    Alias, Component, ComponentImportSection, ComponentInstanceSection, ExportSection,
    ImportSection, Imports, InstanceSection, Module, ModuleArg,
};
use wasmparser::component_types::{self, ComponentAnyTypeId, ComponentValType};
use wasmparser::types::Types;
use wasmparser::{
    ComponentAlias, ComponentDefinedType, ComponentExternalKind, ComponentInstance, ComponentType,
    ComponentTypeRef, Instance, Parser, Payload, Validator, WasmFeatures,
};

use crate::report::Stop;

/// The component with short inner names.
///
/// # Errors
/// It is not a component that this can read.
pub(super) fn shrink(component: &[u8]) -> Result<Vec<u8>, Stop> {
    let types = validate(component, "the component")?;
    let mut small = Component::new();
    Shrink { types: Some(types), ..Shrink::default() }
        .parse_component(&mut small, Parser::new(0), component)
        .map_err(|error| Stop::Failed(format!("shortening a component's names: {error}")))?;
    let small = small.finish();
    validate(&small, "the component, with its names shortened,")?;
    Ok(small)
}

fn validate(component: &[u8], what: &str) -> Result<Types, Stop> {
    Validator::new_with_features(WasmFeatures::all())
        .validate_all(component)
        .map_err(|error| Stop::Failed(format!("{what} is not valid: {error}")))
}

/// Whether an alias is one more type.
fn names_type(alias: &ComponentAlias<'_>) -> bool {
    match alias {
        ComponentAlias::InstanceExport { kind, .. } => *kind == ComponentExternalKind::Type,
        ComponentAlias::Outer { kind, .. } => *kind == wasmparser::ComponentOuterAliasKind::Type,
        ComponentAlias::CoreInstanceExport { .. } => false,
    }
}

/// Short names for long ones: the same for the same, different for different ones.
#[derive(Debug, Default)]
struct Names(HashMap<String, String>);

impl Names {
    /// `a` to `z`, then with digits behind: labels as components have them, in which case makes no difference.
    fn short(&mut self, name: &str) -> String {
        let number = self.0.len();
        let new = || {
            let letter = char::from(b'a' + (number % 26) as u8);
            match number / 26 {
                0 => letter.to_string(),
                more => format!("{letter}{}", more - 1),
            }
        };
        self.0.entry(name.to_owned()).or_insert_with(new).clone()
    }
}

#[derive(Default)]
struct Shrink {
    /// Between core modules.
    core: Names,
    /// What nested components import.
    nested: Names,
    /// How many components are around.
    depth: u32,
    /// Those of the outer component, and how many of them have been defined so far.
    types: Option<Types>,
    defined: u32,
}

impl Shrink {
    /// The outer component's type that is written the same, and can be.
    fn known(&self, written: &str) -> Option<u32> {
        let types = self.types.as_ref()?.as_ref();
        (0..self.defined).find(|&index| match types.component_any_type_at(index) {
            ComponentAnyTypeId::Defined(id) => write_outer(&types[id]).as_deref() == Some(written),
            _ => false,
        })
    }
}

/// A type with names that is made of primitive types, in words; `None` of others.
fn write_nested(ty: &ComponentDefinedType<'_>) -> Option<String> {
    let primitive = |ty: &wasmparser::ComponentValType| match ty {
        wasmparser::ComponentValType::Primitive(ty) => Some(ty.to_string()),
        wasmparser::ComponentValType::Type(_) => None,
    };
    let (kind, parts): (_, Option<Vec<String>>) = match ty {
        ComponentDefinedType::Record(fields) => {
            let field = |(name, ty): &(&str, _)| Some(format!("{name}: {}", primitive(ty)?));
            ("record", fields.iter().map(field).collect())
        }
        ComponentDefinedType::Variant(cases) => {
            let case = |case: &wasmparser::VariantCase<'_>| match &case.ty {
                Some(ty) => Some(format!("{}: {}", case.name, primitive(ty)?)),
                None => Some(case.name.to_owned()),
            };
            ("variant", cases.iter().map(case).collect())
        }
        ComponentDefinedType::Enum(names) => ("enum", Some(owned(names))),
        ComponentDefinedType::Flags(names) => ("flags", Some(owned(names))),
        _ => return None,
    };
    Some(format!("{kind} {}", parts?.join(", ")))
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The same of a type that was read already.
fn write_outer(ty: &component_types::ComponentDefinedType) -> Option<String> {
    use component_types::ComponentDefinedType::{Enum, Flags, Record, Variant};
    let (kind, parts): (_, Option<Vec<String>>) = match ty {
        Record(record) => {
            let field = |(name, ty): (&wasmparser::names::KebabString, &_)| match ty {
                ComponentValType::Primitive(ty) => Some(format!("{name}: {ty}")),
                ComponentValType::Type(_) => None,
            };
            ("record", record.fields.iter().map(field).collect())
        }
        Variant(variant) => {
            let case =
                |(name, case): (&wasmparser::names::KebabString, &component_types::VariantCase)| {
                    match case.ty {
                        Some(ComponentValType::Primitive(ty)) => Some(format!("{name}: {ty}")),
                        Some(ComponentValType::Type(_)) => None,
                        None => Some(name.to_string()),
                    }
                };
            ("variant", variant.cases.iter().map(case).collect())
        }
        Enum(names) => ("enum", Some(names.iter().map(ToString::to_string).collect())),
        Flags(names) => ("flags", Some(names.iter().map(ToString::to_string).collect())),
        _ => return None,
    };
    Some(format!("{kind} {}", parts?.join(", ")))
}

type Done = Result<(), Error<Infallible>>;

impl Reencode for Shrink {
    type Error = Infallible;

    fn parse_custom_section(
        &mut self,
        _: &mut Module,
        _: wasmparser::CustomSectionReader<'_>,
    ) -> Done {
        Ok(())
    }

    fn parse_imports(
        &mut self,
        section: &mut ImportSection,
        imports: wasmparser::Imports<'_>,
    ) -> Done {
        let wasmparser::Imports::Single(_, import) = imports else {
            return Err(Error::UnexpectedNonCoreModuleSection);
        };
        section.imports(Imports::Single(wasm_encoder::Import {
            module: &self.core.short(import.module),
            name: &self.core.short(import.name),
            ty: self.entity_type(import.ty)?,
        }));
        Ok(())
    }

    fn parse_export(
        &mut self,
        section: &mut ExportSection,
        export: wasmparser::Export<'_>,
    ) -> Done {
        let kind = self.export_kind(export.kind)?;
        let index = self.external_index(export.kind, export.index)?;
        section.export(&self.core.short(export.name), kind, index);
        Ok(())
    }
}

impl ReencodeComponent for Shrink {
    fn push_depth(&mut self) {
        self.depth += 1;
    }

    fn pop_depth(&mut self) {
        self.depth -= 1;
    }

    fn parse_component_payload(
        &mut self,
        component: &mut Component,
        payload: Payload<'_>,
        whole: &[u8],
    ) -> Done {
        use wasm_encoder::reencode::component_utils::parse_component_payload;
        if self.depth == 0 {
            self.defined += match &payload {
                Payload::ComponentTypeSection(section) => section.count(),
                Payload::ComponentImportSection(section) => {
                    let imports = section.clone().into_iter();
                    imports
                        .filter(|i| matches!(i, Ok(i) if matches!(i.ty, ComponentTypeRef::Type(_))))
                        .count() as u32
                }
                Payload::ComponentExportSection(section) => {
                    let exports = section.clone().into_iter();
                    exports
                        .filter(|e| matches!(e, Ok(e) if e.kind == ComponentExternalKind::Type))
                        .count() as u32
                }
                Payload::ComponentAliasSection(section) => {
                    let aliases = section.clone().into_iter();
                    aliases.filter(|alias| matches!(alias, Ok(alias) if names_type(alias))).count()
                        as u32
                }
                _ => 0,
            };
            return parse_component_payload(self, component, payload, whole);
        }
        let Payload::ComponentTypeSection(section) = payload else {
            return parse_component_payload(self, component, payload, whole);
        };
        // In order, in as few sections as that allows.
        let mut types = wasm_encoder::ComponentTypeSection::new();
        let mut aliases = wasm_encoder::ComponentAliasSection::new();
        for ty in section {
            let ty = ty?;
            let known = match &ty {
                ComponentType::Defined(ty) => write_nested(ty).and_then(|ty| self.known(&ty)),
                _ => None,
            };
            if let Some(index) = known {
                if !types.is_empty() {
                    component.section(&core::mem::take(&mut types));
                }
                let kind = wasm_encoder::ComponentOuterAliasKind::Type;
                aliases.alias(Alias::Outer { kind, count: self.depth, index });
            } else {
                if !aliases.is_empty() {
                    component.section(&core::mem::take(&mut aliases));
                }
                self.parse_component_type(types.ty(), ty)?;
            }
        }
        if !types.is_empty() {
            component.section(&types);
        }
        if !aliases.is_empty() {
            component.section(&aliases);
        }
        Ok(())
    }

    fn parse_component_custom_section(
        &mut self,
        _: &mut Component,
        _: wasmparser::CustomSectionReader<'_>,
    ) -> Done {
        Ok(())
    }

    fn parse_component_import_section(
        &mut self,
        imports: &mut ComponentImportSection,
        section: wasmparser::ComponentImportSectionReader<'_>,
    ) -> Done {
        for import in section {
            let import = import?;
            let ty = self.component_type_ref(import.ty)?;
            if self.depth == 0 {
                imports.import(import.name, ty);
            } else {
                imports.import(self.nested.short(import.name.name).as_str(), ty);
            }
        }
        Ok(())
    }

    fn parse_component_alias_section(
        &mut self,
        aliases: &mut wasm_encoder::ComponentAliasSection,
        section: wasmparser::ComponentAliasSectionReader<'_>,
    ) -> Done {
        for alias in section {
            match alias? {
                ComponentAlias::CoreInstanceExport { kind, instance_index, name } => {
                    let instance = self.instance_index(instance_index);
                    let name = &self.core.short(name);
                    aliases.alias(Alias::CoreInstanceExport { instance, kind: kind.into(), name });
                }
                other => {
                    aliases.alias(self.component_alias(other)?);
                }
            }
        }
        Ok(())
    }

    fn parse_component_instance(
        &mut self,
        instances: &mut ComponentInstanceSection,
        instance: ComponentInstance<'_>,
    ) -> Done {
        let ComponentInstance::Instantiate { component_index, args } = instance else {
            return wasm_encoder::reencode::component_utils::parse_component_instance(
                self, instances, instance,
            );
        };
        let mut short = Vec::new();
        for arg in &args {
            let index = self.component_external_index(arg.kind, arg.index);
            short.push((self.nested.short(arg.name), arg.kind.into(), index));
        }
        instances.instantiate(self.component_index(component_index), short);
        Ok(())
    }

    fn parse_instance(&mut self, instances: &mut InstanceSection, instance: Instance<'_>) -> Done {
        match instance {
            Instance::Instantiate { module_index, args } => {
                let mut short = Vec::new();
                for arg in &args {
                    let instance = self.instance_index(arg.index);
                    short.push((self.core.short(arg.name), ModuleArg::Instance(instance)));
                }
                instances.instantiate(self.module_index(module_index), short);
            }
            Instance::FromExports(exports) => {
                let mut short = Vec::new();
                for export in &exports {
                    let kind = self.export_kind(export.kind)?;
                    let index = self.external_index(export.kind, export.index)?;
                    short.push((self.core.short(export.name), kind, index));
                }
                instances.export_items(short);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Names;
    use std::collections::HashSet;

    #[test]
    fn names_are_short_and_differ_where_the_long_ones_do() {
        let mut names = Names::default();
        let long: Vec<String> = (0..1000).map(|i| format!("import-method-{i}")).collect();
        let short: Vec<String> = long.iter().map(|name| names.short(name)).collect();
        assert_eq!(short.iter().collect::<HashSet<_>>().len(), long.len());
        assert!(short.iter().all(|name| name.len() <= 3), "{short:?}");
        assert_eq!(names.short(&long[700]), short[700]);
    }
}
