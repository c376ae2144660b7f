#pragma once

#include <CLI/CLI.hpp>

#include "engine/device/device.h"
#include "engine/transformer/layer0_table.h"

namespace lckv {

// --device, --compute, --fast, --threads, --isa: where and how a model is computed.
void AddDeviceFlags(CLI::App& app, DeviceOptions& options);

// --gpu-layers, as EngineOptions::device_layers.
void AddGpuLayersFlag(CLI::App& app, int* device_layers);

// --layer0-table, as EngineOptions::layer0_table.
void AddLayer0TableFlag(CLI::App& app, Layer0Table* table);

}  // namespace lckv
