//! Generated from `wit/`; the only place that calls `bindgen!`.

#![allow(missing_debug_implementations, unreachable_pub, reason = "generated code")]

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package roundsman:engine;
        world engine {
            include roundsman:plugin/plugin@0.1.0;
            import wasi:sockets/ip-name-lookup@0.2.12;
        }
    ",
    imports: {
        "roundsman:net/http.[method]request.send": async | trappable,
        "roundsman:host/system.mounts": async | trappable,
        "roundsman:host/system.usage": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: {
        "roundsman:net/types.certificate": crate::host::http::Certificate,
        "roundsman:net/http.request": crate::host::http::Request,
        "roundsman:net/http.response": crate::host::http::Response,
        "roundsman:host/system.mount": crate::host::system::Mount,
        "roundsman:host/system.filesystem": crate::host::system::Usage,
        "wasi:io": wasmtime_wasi::p2::bindings::io,
        "wasi:sockets/network": wasmtime_wasi::p2::bindings::sockets::network,
        "wasi:sockets/ip-name-lookup.resolve-address-stream": crate::host::lookup::Addresses,
    },
    trappable_error_type: {
        "wasi:sockets/network.error-code" => wasmtime_wasi::p2::SocketError,
    },
    require_store_data_send: true,
});
