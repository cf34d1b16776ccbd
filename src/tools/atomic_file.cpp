#include "tools/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace nutshell {

Status AtomicFile::error(const std::string& what) const {
  return {ErrorCode::io_error, what + ": " + std::strerror(errno)};
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)), partial_(path_ + ".partial") {
  opened_ = open();
  if (opened_.ok() || fd_ < 0) return;
  ::close(fd_);
  fd_ = -1;
}

Status AtomicFile::open() {
  struct stat there {};
  if (::stat(path_.c_str(), &there) == 0 && !S_ISREG(there.st_mode))
    return {ErrorCode::io_error, "'" + path_ + "' is there and is no file"};
  for (;;) {
    fd_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd_ < 0) return error("cannot create '" + partial_ + "'");
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0)
      return {ErrorCode::io_error, "another process is writing '" + path_ + "'"};
    // Between opening and locking another process may have finished this file and given it its name.
    struct stat ours {};
    if (::fstat(fd_, &ours) == 0 && ::stat(partial_.c_str(), &there) == 0 && ours.st_ino == there.st_ino)
      break;
    ::close(fd_);
  }
  return ::ftruncate(fd_, 0) == 0 ? Status() : error("cannot write '" + partial_ + "'");
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::unlink(partial_.c_str());
  ::close(fd_);
}

Status AtomicFile::check_room(uint64_t bytes) const {
  struct statvfs disk {};
  if (::fstatvfs(fd_, &disk) != 0) return {};  // writing will tell
  const uint64_t room = static_cast<uint64_t>(disk.f_bavail) * disk.f_frsize;
  if (room >= bytes) return {};
  return {ErrorCode::io_error, "the disk has room for " + std::to_string(room) + " bytes, '" + path_ +
                                   "' needs " + std::to_string(bytes)};
}

Status AtomicFile::write(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return error("cannot write '" + partial_ + "'");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Status AtomicFile::finish() {
  if (::fsync(fd_) != 0) return error("cannot write '" + partial_ + "'");
  if (::rename(partial_.c_str(), path_.c_str()) != 0) return error("cannot create '" + path_ + "'");
  ::close(fd_);
  fd_ = -1;
  const size_t slash = path_.find_last_of('/');
  const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
  if (const int d = ::open(folder.c_str(), O_RDONLY | O_CLOEXEC); d >= 0) {  // the name is durable, too
    ::fsync(d);
    ::close(d);
  }
  return {};
}

}  // namespace nutshell
