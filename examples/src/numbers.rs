//! The service of `proto/numbers.proto`, as the build script generated it.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

tonic::include_proto!("dpdk_net.examples.v1");
