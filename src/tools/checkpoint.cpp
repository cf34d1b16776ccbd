#include "tools/checkpoint.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/rng.h"

namespace nutshell {
namespace {

Status failed(const std::string& path) {
  return {ErrorCode::io_error, "cannot write '" + path + "': " + std::strerror(errno)};
}

}  // namespace

// Names come from the model: only their hash reaches the file system.
std::string FolderCheckpoint::path_of(const std::string& name) const {
  char text[32];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(fnv1a(name)));
  return folder_ + "/" + text;
}

FolderCheckpoint::~FolderCheckpoint() {
  if (lock_ >= 0) ::close(lock_);
}

Status FolderCheckpoint::lock() {
  if (::mkdir(folder_.c_str(), 0777) != 0 && errno != EEXIST) return failed(folder_);
  lock_ = ::open((folder_ + "/lock").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (lock_ < 0) return failed(folder_);
  if (::flock(lock_, LOCK_EX | LOCK_NB) == 0) return {};
  return {ErrorCode::io_error, "another process is working with the state '" + folder_ + "'"};
}

uint64_t FolderCheckpoint::size(const std::string& name) {
  struct stat info {};
  return ::stat(path_of(name).c_str(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

Status FolderCheckpoint::load(const std::string& name, std::span<uint8_t> target) {
  const std::string path = path_of(name);
  std::FILE* file = std::fopen(path.c_str(), "rb");
  const bool read = file != nullptr && std::fread(target.data(), 1, target.size(), file) == target.size();
  if (file != nullptr) std::fclose(file);
  return read ? Status() : Status(ErrorCode::io_error, "cannot read '" + path + "'");
}

Status FolderCheckpoint::save(const std::string& name, std::span<const uint8_t> bytes) {
  if (::mkdir(folder_.c_str(), 0777) != 0 && errno != EEXIST) return failed(folder_);
  const std::string path = path_of(name), partial = path + ".partial";
  std::FILE* file = std::fopen(partial.c_str(), "wb");
  if (file == nullptr) return failed(partial);
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  if (std::fclose(file) != 0 || !written) {
    const Status status = failed(partial);
    std::remove(partial.c_str());
    return status;
  }
  return std::rename(partial.c_str(), path.c_str()) == 0 ? Status() : failed(path);
}

void FolderCheckpoint::drop(const std::string& name) { std::remove(path_of(name).c_str()); }

void FolderCheckpoint::remove() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

}  // namespace nutshell
