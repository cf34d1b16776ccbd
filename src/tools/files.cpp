// Reading files natively, for all subcommands.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "engine/header_reader.h"
#include "model/gguf_split.h"
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

// The last part of a path; "dir/" is "dir".
std::string base_name(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path.substr(path.find_last_of('/') + 1);
}

bool is_file(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

// The names of the files in a folder, sorted, and "<sub>/config.json" of its subfolders.
Result<std::vector<std::string>> list_folder(const std::string& path) {
  DIR* folder = ::opendir(path.c_str());
  if (folder == nullptr)
    return Status(ErrorCode::file_not_found, "cannot open '" + path + "': " + std::strerror(errno));
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(folder)) {
    const std::string name = entry->d_name, inner = name + "/config.json";
    if (is_file(path + "/" + name)) names.push_back(name);
    if (name != "." && name != ".." && is_file(path + "/" + inner)) names.push_back(inner);
  }
  ::closedir(folder);
  std::sort(names.begin(), names.end());
  return names;
}

// Where a file of a model is, and its name as the loader wants it (ModelFile).
struct ModelPath {
  std::string path, name;
};

// All files of the model a path means: a folder's, all parts of the split file one part of which is named, or
// the file itself. Parts that are not there are left out; the loader says which.
Result<std::vector<ModelPath>> model_paths(const std::string& path) {
  struct stat info {};
  std::vector<ModelPath> paths;
  if (::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
    ASSIGN_OR_RETURN(const std::vector<std::string> names, list_folder(path));
    for (const std::string& name : names)
      if (is_model_file(name)) paths.push_back({path + "/" + name, name});
    if (paths.empty()) return Status(ErrorCode::file_not_found, "the folder '" + path + "' holds no model");
    return paths;
  }
  const std::string name = base_name(path), folder = path.substr(0, path.size() - name.size());
  if (const auto part = parse_part_name(name); part && is_file(path)) {
    for (uint32_t number = 1; number <= part->count; ++number)
      if (const std::string other = part_name(part->stem, number, part->count); is_file(folder + other))
        paths.push_back({folder + other, other});
    return paths;
  }
  return std::vector<ModelPath>{{path, name}};
}

// The files of a model, open for reading.
class OpenModel {
 public:
  static Result<OpenModel> open(const std::string& path) {
    ASSIGN_OR_RETURN(const std::vector<ModelPath> paths, model_paths(path));
    OpenModel model;
    for (const ModelPath& each : paths) {
      auto file = std::make_unique<File>(each.path);
      ASSIGN_OR_RETURN(const uint64_t bytes, file->size(each.path));
      model.files_.push_back({each.name, bytes});
      model.open_.push_back(std::move(file));
    }
    return model;
  }
  const std::vector<ModelFile>& files() const { return files_; }
  Status read(const ReadRequest& request) const {
    return open_[request.file]->read_at(request.offset, request.length, request.target);
  }

 private:
  std::vector<ModelFile> files_;
  std::vector<std::unique_ptr<File>> open_;
};

}  // namespace

Result<std::string> read_text_file(const std::string& path) {
  const File file(path);
  ASSIGN_OR_RETURN(const uint64_t size, file.size(path));
  std::string text(size, '\0');
  RETURN_IF_ERROR(file.read_at(0, size, reinterpret_cast<uint8_t*>(text.data())));
  return text;
}

Result<ReadModel> open_model(const std::string& path) {
  ASSIGN_OR_RETURN(OpenModel opened, OpenModel::open(path));
  const auto model = std::make_shared<OpenModel>(std::move(opened));
  return ReadModel([model](uint32_t file, uint64_t offset, std::span<uint8_t> target) {
    ReadRequest request;
    request.file = file;
    request.offset = offset;
    request.length = target.size();
    request.target = target.data();
    return model->read(request);
  });
}

Result<std::unique_ptr<Model>> load_model_file(const std::string& path, ThreadPool& pool,
                                               LoadOptions options) {
  ASSIGN_OR_RETURN(const OpenModel model, OpenModel::open(path));
  options.files = model.files();
  options.name = base_name(path);
  Loader loader(pool, std::move(options));
  for (;;) {
    ASSIGN_OR_RETURN(const std::optional<ReadRequest> request, loader.next());
    if (!request) return loader.take();
    RETURN_IF_ERROR(model.read(*request));
    RETURN_IF_ERROR(loader.commit());
  }
}

Result<ModelHeader> read_model_header(const std::string& path) {
  ASSIGN_OR_RETURN(const OpenModel model, OpenModel::open(path));
  HeaderReader reader(model.files());
  for (;;) {
    ASSIGN_OR_RETURN(const std::optional<ReadRequest> request, reader.next());
    if (!request) return reader.take();
    RETURN_IF_ERROR(model.read(*request));
    RETURN_IF_ERROR(reader.commit());
  }
}

int default_threads() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

}  // namespace nutshell
