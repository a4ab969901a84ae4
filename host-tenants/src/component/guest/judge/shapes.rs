//! How large the types of components are, with all that is within them: a type that names another twice, which names another
//! twice, is written in few bytes and becomes large wherever the compiler spells it out.
//!
//! A [`Scope`] has the index spaces that types can come from. What does not exist counts as 1: the compiler's own checks refuse
//! it. All sums saturate.

use super::{Judge, Refusal};
use std::collections::HashMap;
use std::rc::Rc;
use wasmparser::{
    ComponentAlias, ComponentDefinedType, ComponentExternalKind, ComponentOuterAliasKind,
    ComponentType, ComponentTypeDeclaration, ComponentTypeRef, ComponentValType,
    InstanceTypeDeclaration, TypeBounds,
};

/// A type, or something that has one.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Parts, itself included.
    pub(super) size: u64,
    /// Of an instance, or what instantiating a component gives.
    pub(super) exports: Option<Rc<HashMap<String, Shape>>>,
    /// Of a component: what instantiating it costs. `None` for one that is imported.
    pub(super) cost: Option<Cost>,
}

/// What instantiating a component costs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) instances: u64,
    pub(super) items: u64,
}

impl Cost {
    pub(super) fn add(&mut self, other: Self) {
        self.instances = self.instances.saturating_add(other.instances);
        self.items = self.items.saturating_add(other.items);
    }
}

impl Shape {
    pub(super) const fn of_size(size: u64) -> Self {
        Self { size, exports: None, cost: None }
    }

    pub(super) fn with_exports(size: u64, exports: HashMap<String, Self>) -> Self {
        Self { size, exports: Some(Rc::new(exports)), cost: None }
    }

    /// What it exports under that name.
    fn export(&self, name: &str) -> Self {
        let found = self.exports.as_ref().and_then(|exports| exports.get(name));
        found.cloned().unwrap_or_else(|| Self::of_size(1))
    }
}

/// The index spaces of a component, or of a type of one.
#[derive(Debug, Default)]
pub(super) struct Scope {
    types: Vec<Shape>,
    instances: Vec<Shape>,
    functions: Vec<Shape>,
    components: Vec<Shape>,
    /// What it exports.
    exports: HashMap<String, Shape>,
    /// What instantiating it costs.
    pub(super) cost: Cost,
}

impl Scope {
    fn space(&self, kind: ComponentExternalKind) -> Option<&Vec<Shape>> {
        Some(match kind {
            ComponentExternalKind::Type => &self.types,
            ComponentExternalKind::Instance => &self.instances,
            ComponentExternalKind::Func => &self.functions,
            ComponentExternalKind::Component => &self.components,
            ComponentExternalKind::Module | ComponentExternalKind::Value => return None,
        })
    }

    pub(super) fn get(&self, kind: ComponentExternalKind, index: u32) -> Shape {
        let found = self.space(kind).and_then(|space| space.get(index as usize));
        found.cloned().unwrap_or_else(|| Shape::of_size(1))
    }

    /// Adds an item to its index space, and to what the component costs.
    pub(super) fn push(&mut self, kind: ComponentExternalKind, shape: Shape) {
        self.cost.items = self.cost.items.saturating_add(shape.size);
        match kind {
            ComponentExternalKind::Type => self.types.push(shape),
            ComponentExternalKind::Instance => self.instances.push(shape),
            ComponentExternalKind::Func => self.functions.push(shape),
            ComponentExternalKind::Component => self.components.push(shape),
            ComponentExternalKind::Module | ComponentExternalKind::Value => {}
        }
    }

    pub(super) fn export(&mut self, name: &str, kind: ComponentExternalKind, shape: Shape) {
        self.exports.insert(name.to_owned(), shape.clone());
        self.push(kind, shape);
    }

    /// What instantiating it gives, once all of it is known.
    pub(super) fn close(self) -> Shape {
        let mut shape = Shape::with_exports(1 + sum(self.exports.values()), self.exports);
        shape.cost = Some(self.cost);
        shape
    }

    fn value(&self, ty: &ComponentValType) -> u64 {
        match ty {
            ComponentValType::Primitive(_) => 1,
            ComponentValType::Type(index) => self.get(ComponentExternalKind::Type, *index).size,
        }
    }

    fn values<'v>(&self, types: impl IntoIterator<Item = &'v ComponentValType>) -> u64 {
        types.into_iter().fold(1, |size, ty| size.saturating_add(self.value(ty)))
    }

    fn defined(&self, ty: &ComponentDefinedType<'_>) -> u64 {
        match ty {
            ComponentDefinedType::Primitive(_)
            | ComponentDefinedType::Own(_)
            | ComponentDefinedType::Borrow(_) => 1,
            ComponentDefinedType::Record(fields) => self.values(fields.iter().map(|(_, ty)| ty)),
            ComponentDefinedType::Variant(cases) => {
                let empty = cases.len() as u64;
                self.values(cases.iter().filter_map(|case| case.ty.as_ref())).saturating_add(empty)
            }
            ComponentDefinedType::List(ty) | ComponentDefinedType::Option(ty) => self.values([ty]),
            ComponentDefinedType::Map(key, value) => self.values([key, value]),
            // Spelled out element by element where it is passed flat.
            ComponentDefinedType::FixedLengthList(ty, length) => {
                self.value(ty).saturating_mul(u64::from(*length)).saturating_add(1)
            }
            ComponentDefinedType::Tuple(types) => self.values(types.iter()),
            ComponentDefinedType::Flags(names) | ComponentDefinedType::Enum(names) => {
                1 + names.len() as u64
            }
            ComponentDefinedType::Result { ok, err } => {
                self.values([ok, err].into_iter().flatten())
            }
            ComponentDefinedType::Future(ty) | ComponentDefinedType::Stream(ty) => {
                self.values(ty.iter())
            }
        }
    }

    /// What an item of a type that is referred to looks like. A component that is imported cannot be looked into.
    pub(super) fn referred(&self, ty: &ComponentTypeRef) -> Shape {
        let kind = ComponentExternalKind::Type;
        match ty {
            ComponentTypeRef::Module(_) | ComponentTypeRef::Type(TypeBounds::SubResource) => {
                Shape::of_size(1)
            }
            ComponentTypeRef::Value(ty) => Shape::of_size(self.value(ty)),
            ComponentTypeRef::Func(index)
            | ComponentTypeRef::Type(TypeBounds::Eq(index))
            | ComponentTypeRef::Instance(index) => self.get(kind, *index),
            ComponentTypeRef::Component(index) => Shape { cost: None, ..self.get(kind, *index) },
        }
    }
}

fn sum<'s>(shapes: impl IntoIterator<Item = &'s Shape>) -> u64 {
    shapes.into_iter().fold(0, |size, shape| size.saturating_add(shape.size))
}

impl Judge<'_> {
    /// The scope that is `count` outward of the innermost.
    fn outer(&self, count: u32) -> Option<&Scope> {
        self.scopes.len().checked_sub(1 + count as usize).and_then(|at| self.scopes.get(at))
    }

    fn innermost(&mut self) -> &mut Scope {
        if self.scopes.is_empty() {
            self.scopes.push(Scope::default());
        }
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    pub(super) fn alias(&mut self, alias: &ComponentAlias<'_>) {
        let (kind, shape) = match *alias {
            ComponentAlias::InstanceExport { kind, instance_index, name } => {
                let instance =
                    self.innermost().get(ComponentExternalKind::Instance, instance_index);
                (kind, instance.export(name))
            }
            ComponentAlias::Outer { kind, count, index } => {
                let kind = match kind {
                    ComponentOuterAliasKind::Type => ComponentExternalKind::Type,
                    ComponentOuterAliasKind::Component => ComponentExternalKind::Component,
                    ComponentOuterAliasKind::CoreModule | ComponentOuterAliasKind::CoreType => {
                        ComponentExternalKind::Module
                    }
                };
                let outer = self.outer(count);
                (kind, outer.map_or(Shape::of_size(1), |scope| scope.get(kind, index)))
            }
            ComponentAlias::CoreInstanceExport { .. } => {
                (ComponentExternalKind::Module, Shape::of_size(1))
            }
        };
        self.innermost().push(kind, shape);
    }

    pub(super) fn component_type(&mut self, ty: &ComponentType<'_>) -> Result<(), Refusal> {
        let shape = match ty {
            ComponentType::Defined(ty) => Shape::of_size(self.innermost().defined(ty)),
            ComponentType::Func(ty) => {
                let all = ty.params.iter().map(|(_, ty)| ty).chain(&ty.result);
                Shape::of_size(self.innermost().values(all))
            }
            ComponentType::Resource { .. } => Shape::of_size(1),
            ComponentType::Component(declarations) => {
                self.enter(Scope::default())?;
                for declaration in declarations {
                    self.component_declaration(declaration)?;
                }
                self.leave_type()
            }
            ComponentType::Instance(declarations) => {
                self.enter(Scope::default())?;
                for declaration in declarations {
                    self.instance_declaration(declaration)?;
                }
                self.leave_type()
            }
        };
        self.innermost().push(ComponentExternalKind::Type, shape);
        Ok(())
    }

    /// A type's scope is all that the type consists of, and nothing is instantiated in it.
    fn leave_type(&mut self) -> Shape {
        let scope = self.scopes.pop().unwrap_or_default();
        let size = scope.cost.items.saturating_add(1);
        Shape { size, cost: None, ..scope.close() }
    }

    fn component_declaration(
        &mut self,
        declaration: &ComponentTypeDeclaration<'_>,
    ) -> Result<(), Refusal> {
        match declaration {
            ComponentTypeDeclaration::CoreType(_) => self.core_type(),
            ComponentTypeDeclaration::Type(ty) => self.component_type(ty)?,
            ComponentTypeDeclaration::Alias(alias) => self.alias(alias),
            ComponentTypeDeclaration::Export { name, ty } => self.export_declaration(name.name, ty),
            ComponentTypeDeclaration::Import(import) => self.import(&import.ty),
        }
        Ok(())
    }

    fn instance_declaration(
        &mut self,
        declaration: &InstanceTypeDeclaration<'_>,
    ) -> Result<(), Refusal> {
        match declaration {
            InstanceTypeDeclaration::CoreType(_) => self.core_type(),
            InstanceTypeDeclaration::Type(ty) => self.component_type(ty)?,
            InstanceTypeDeclaration::Alias(alias) => self.alias(alias),
            InstanceTypeDeclaration::Export { name, ty } => self.export_declaration(name.name, ty),
        }
        Ok(())
    }

    pub(super) fn core_type(&mut self) {
        self.innermost().push(ComponentExternalKind::Module, Shape::of_size(1));
    }

    fn export_declaration(&mut self, name: &str, ty: &ComponentTypeRef) {
        let scope = self.innermost();
        let shape = scope.referred(ty);
        scope.export(name, ty.kind(), shape);
    }

    pub(super) fn import(&mut self, ty: &ComponentTypeRef) {
        let scope = self.innermost();
        let shape = scope.referred(ty);
        scope.push(ty.kind(), shape);
    }
}
