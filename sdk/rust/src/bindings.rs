//! Generated from `wit/`; nothing else calls `generate!`. Only the macro [`plugin!`](crate::plugin) needs it from outside.

wit_bindgen::generate!({
    path: "wit",
    world: "roundsman:plugin/plugin",
    pub_export_macro: true,
    default_bindings_module: "roundsman_sdk::bindings",
    generate_all,
});
