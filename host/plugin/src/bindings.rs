//! Generated from `wit/`; the only place that calls `bindgen!`.

#![allow(missing_debug_implementations, unreachable_pub, reason = "generated code")]

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package roundsman:engine;
        world engine {
            include roundsman:check/base@0.1.0;
            import roundsman:net/http@0.1.0;
            import roundsman:net/tcp@0.1.0;
            import roundsman:net/udp@0.1.0;
            import roundsman:net/dns@0.1.0;
            import roundsman:net/icmp@0.1.0;
            import roundsman:host/system@0.1.0;
            import roundsman:host/command@0.1.0;
            import wasi:sockets/ip-name-lookup@0.2.12;
        }
    ",
    imports: {
        "roundsman:net/http.[method]request.send": async | trappable,
        "roundsman:net/tcp.[method]connection.connect": async | trappable,
        "roundsman:net/tcp.[method]connection.start-tls": async | trappable,
        "roundsman:net/tcp.[method]connection.send": async | trappable,
        "roundsman:net/tcp.[method]connection.send-secret": async | trappable,
        "roundsman:net/tcp.[method]connection.receive": async | trappable,
        "roundsman:net/tcp.[method]connection.receive-until": async | trappable,
        "roundsman:net/tcp.[method]connection.close": async | trappable,
        "roundsman:net/udp.[method]exchange.send": async | trappable,
        "roundsman:net/udp.[method]exchange.receive": async | trappable,
        "roundsman:net/dns.[method]query.send": async | trappable,
        "roundsman:net/icmp.[method]echo.send": async | trappable,
        "roundsman:host/system.mounts": async | trappable,
        "roundsman:host/system.usage": async | trappable,
        "roundsman:host/system.sysctl": async | trappable,
        "roundsman:host/system.processes": async | trappable,
        "roundsman:host/system.listening-ports": async | trappable,
        "roundsman:host/system.kernel-log": async | trappable,
        "roundsman:host/system.failed-units": async | trappable,
        "roundsman:host/system.units": async | trappable,
        "roundsman:host/command.[method]program.run": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: {
        "roundsman:net/types.certificate": crate::host::http::Certificate,
        "roundsman:net/http.request": crate::host::http::Request,
        "roundsman:net/http.response": crate::host::http::Response,
        "roundsman:net/tcp.connection": crate::host::tcp::Connection,
        "roundsman:net/udp.exchange": crate::host::udp::Exchange,
        "roundsman:net/dns.query": crate::host::dns::Query,
        "roundsman:net/dns.answer": crate::host::dns::Answer,
        "roundsman:net/icmp.echo": crate::host::icmp::Echo,
        "roundsman:host/system.mount": crate::host::system::Mount,
        "roundsman:host/system.filesystem": crate::host::system::Usage,
        "roundsman:host/system.process-list": crate::host::system::ProcessList,
        "roundsman:host/system.port-list": crate::host::system::PortList,
        "roundsman:host/system.kernel-lines": crate::host::system::KernelLines,
        "roundsman:host/system.unit-list": crate::host::system::UnitList,
        "roundsman:host/command.program": crate::host::command::Program,
        "wasi:io": wasmtime_wasi::p2::bindings::io,
        "wasi:sockets/network": wasmtime_wasi::p2::bindings::sockets::network,
        "wasi:sockets/ip-name-lookup.resolve-address-stream": crate::host::lookup::Addresses,
    },
    trappable_error_type: {
        "wasi:sockets/network.error-code" => wasmtime_wasi::p2::SocketError,
    },
    require_store_data_send: true,
});
