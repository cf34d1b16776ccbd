// How the compressor reads, writes and tells how far it is: files are the caller's business. L5.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "base/result.h"

namespace nutshell::compress {

// Copies bytes [offset, offset + target.size()) of one of the model's files to target.
using ReadBytes = std::function<Status(uint32_t file, uint64_t offset, std::span<uint8_t> target)>;
// Appends to the file that is made.
using WriteBytes = std::function<Status(std::span<const uint8_t>)>;
// Stage and share done of it.
using Progress = std::function<void(const std::string& stage, double done)>;

}  // namespace nutshell::compress
