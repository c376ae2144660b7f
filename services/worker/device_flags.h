#pragma once

#include <CLI/CLI.hpp>

#include "engine/device/device.h"

namespace lckv {

// --device, --compute, --fast, --threads, --isa: where and how a model is computed.
void AddDeviceFlags(CLI::App& app, DeviceOptions& options);

// --gpu-layers, as EngineOptions::device_layers.
void AddGpuLayersFlag(CLI::App& app, int* device_layers);

}  // namespace lckv
