// Reading files natively, for all subcommands.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "tools/commands.h"

namespace nutshell {
namespace {

// Closes on every way out.
class File {
 public:
  explicit File(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  Result<uint64_t> size(const std::string& path) const {
    struct stat info {};
    if (fd_ < 0 || ::fstat(fd_, &info) != 0)
      return Status(ErrorCode::file_not_found, "cannot open '" + path + "': " + std::strerror(errno));
    if (!S_ISREG(info.st_mode)) return Status(ErrorCode::file_not_found, "'" + path + "' is not a file");
    return static_cast<uint64_t>(info.st_size);
  }

  Status read_at(uint64_t offset, uint64_t length, uint8_t* target) const {
    while (length > 0) {
      const ssize_t n = ::pread(fd_, target, length, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0)
        return {ErrorCode::io_error,
                n < 0 ? std::strerror(errno) : "the file became shorter while it was read"};
      target += n;
      offset += static_cast<uint64_t>(n);
      length -= static_cast<uint64_t>(n);
    }
    return {};
  }

 private:
  int fd_;
};

std::string base_name(const std::string& path) { return path.substr(path.find_last_of('/') + 1); }

}  // namespace

Result<std::string> read_text_file(const std::string& path) {
  const File file(path);
  ASSIGN_OR_RETURN(const uint64_t size, file.size(path));
  std::string text(size, '\0');
  RETURN_IF_ERROR(file.read_at(0, size, reinterpret_cast<uint8_t*>(text.data())));
  return text;
}

Result<std::unique_ptr<Model>> load_model_file(const std::string& path, ThreadPool& pool,
                                               LoadOptions options) {
  const File file(path);
  ASSIGN_OR_RETURN(options.file_bytes, file.size(path));
  options.name = base_name(path);
  Loader loader(pool, std::move(options));
  for (;;) {
    ASSIGN_OR_RETURN(const std::optional<ReadRequest> request, loader.next());
    if (!request) return loader.take();
    RETURN_IF_ERROR(file.read_at(request->offset, request->length, request->target));
    RETURN_IF_ERROR(loader.commit());
  }
}

Result<GgufFile> read_model_header(const std::string& path) {
  const File file(path);
  ASSIGN_OR_RETURN(const uint64_t size, file.size(path));
  std::vector<uint8_t> prefix;
  while (true) {
    const uint64_t have = prefix.size(),
                   want = std::min<uint64_t>(size, std::max<uint64_t>(4u << 20, have * 2));
    prefix.resize(want);
    RETURN_IF_ERROR(file.read_at(have, want - have, prefix.data() + have));
    ASSIGN_OR_RETURN(std::optional<GgufFile> header, parse_gguf(prefix, size));
    if (header) return std::move(*header);
  }
}

int default_threads() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

}  // namespace nutshell
