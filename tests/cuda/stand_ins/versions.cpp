// Libraries that differ between ranks, or shadow each other.
#include "versions.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "captured_stderr.h"
#include "levin/core/error.h"
#include "nccl_job.h"

using levin::CudaVersions, levin::test::check_throws, levin::test::NcclJob, levin::test::runtime;

BOOST_AUTO_TEST_SUITE(cuda_stand_ins_versions)

namespace {

const std::vector<std::string> two_ranks{"rank 0 on a", "rank 1 on b"};
const CudaVersions good{NCCL_VERSION_CODE, CUDART_VERSION, CUDART_VERSION, 91900};

levin::Topology on_cores(const std::vector<std::vector<int>>& cores) {
  std::vector<levin::RankLocation> locations;
  std::vector<int> leaders(cores.size(), 0);
  for (size_t rank = 0; rank < cores.size(); rank++)
    locations.push_back({static_cast<int>(rank), "a", static_cast<int>(rank), 0, cores[rank]});
  return {std::move(locations), std::move(leaders), 0};
}

}  // namespace

BOOST_AUTO_TEST_CASE(equal_versions_are_good) {
  BOOST_TEST(levin::version_error({good, good}, two_ranks) == "");
  BOOST_TEST(levin::version_warnings({good, good}, two_ranks).empty());
  BOOST_TEST((levin::loaded_versions() == CudaVersions{NCCL_VERSION_CODE, CUDART_VERSION, CUDART_VERSION, levin::loaded_versions().cudnn}));
}

BOOST_AUTO_TEST_CASE(libraries_that_cannot_work_together) {
  auto other = good;
  other.nccl = 22105;
  BOOST_TEST(levin::version_error({good, other}, two_ranks).find("rank 1 on b NCCL 2.21.5") != std::string::npos);
  BOOST_TEST(levin::version_error({other, other}, two_ranks).find("rank 0 on a has NCCL 2.21.5, older than the ") != std::string::npos);
  other = good;
  other.runtime = CUDART_VERSION + 1000;
  BOOST_TEST(levin::version_error({good, other}, two_ranks).find("rank 1 on b has the CUDA runtime ") != std::string::npos);
  other.runtime = CUDART_VERSION + 10;
  BOOST_TEST(levin::version_error({good, other}, two_ranks) == "");
}

BOOST_AUTO_TEST_CASE(differences_are_warnings) {
  auto other = good;
  other.driver = CUDART_VERSION + 10, other.cudnn = 91002;
  const auto warnings = levin::version_warnings({good, other}, two_ranks);
  BOOST_REQUIRE(warnings.size() == 2);
  BOOST_TEST(warnings[0].find("rank 0 on a has a driver for CUDA ") != std::string::npos, warnings[0]);
  BOOST_TEST(warnings[1].find("has cuDNN 9.19.0, rank 1 on b 9.10.2") != std::string::npos, warnings[1]);
}

BOOST_AUTO_TEST_CASE(ranks_with_few_cores_are_a_warning) {
  BOOST_TEST(levin::core_warnings(on_cores({{0, 1, 2, 3}, {4, 5, 6, 7}}), two_ranks).empty());
  BOOST_TEST(levin::core_warnings(on_cores({{0, 1, 2, 3, 4, 5, 6, 7}, {0, 1, 2, 3, 4, 5, 6, 7}}), two_ranks).empty());
  const auto shared = levin::core_warnings(on_cores({{0, 1, 2, 3}, {0, 1, 2, 3}}), two_ranks);
  BOOST_REQUIRE(shared.size() == 1);
  BOOST_TEST(shared[0].find("cores for rank 0 on a: 2, fewer than the 4") != std::string::npos, shared[0]);
  const auto bound = levin::core_warnings(on_cores({{0, 1, 2, 3}, {4}}), two_ranks);
  BOOST_REQUIRE(bound.size() == 1);
  BOOST_TEST(bound[0].find("cores for rank 1 on b: 1, ") != std::string::npos, bound[0]);
}

BOOST_AUTO_TEST_CASE(a_system_cudnn_before_the_wheels_is_a_warning) {
  namespace fs = std::filesystem;
  std::string scratch = (fs::temp_directory_path() / "levin_cudnn_XXXXXX").string();
  BOOST_REQUIRE(mkdtemp(scratch.data()));
  const fs::path root = scratch, torch = root / "torch/lib", wheel = root / "nvidia/cudnn/lib", system = root / "usr/lib";
  for (const auto& directory : {torch, system}) fs::create_directories(directory);
  std::ofstream(system / "libcudnn.so.9").put('x');
  BOOST_TEST(levin::cudnn_warning(system / "libcudnn.so.9", torch) == "");  // LibTorch came without
  fs::create_directories(wheel);
  std::ofstream(wheel / "libcudnn.so.9").put('x');
  const auto warning = levin::cudnn_warning(system / "libcudnn.so.9", torch);
  BOOST_TEST(warning.find("cuDNN is loaded from " + fs::canonical(system).string()) != std::string::npos, warning);
  BOOST_TEST(levin::cudnn_warning(wheel / "libcudnn.so.9", torch) == "");
  BOOST_TEST(levin::cudnn_warning(torch / "../../nvidia/cudnn/lib/libcudnn.so.9", torch) == "");
  BOOST_TEST(levin::cudnn_warning({}, torch) == "");
  fs::remove_all(root);
}

// At the start of a job: of one rank's driver, and of cores.
BOOST_AUTO_TEST_CASE(rank_0_logs_the_warnings) {
  const NcclJob job;
  levin::MpiRuntime noisy(runtime().communicator());
  noisy.set_log(levin::Log::to_stderr(noisy.rank(), levin::LogLevel::warning));
  if (job.last()) stand_in::cuda_settings().driver = CUDART_VERSION + 10;
  std::vector<std::string> names;
  for (int rank = 0; rank < job.size(); rank++) names.push_back("rank " + std::to_string(rank) + " on a");
  const levin::test::CapturedStderr captured;
  levin::check_versions(noisy, on_cores(std::vector(names.size(), std::vector<int>{0})), names);
  stand_in::cuda_settings().driver = CUDART_VERSION;
  const std::string text = captured.text();
  BOOST_TEST((text.find("warning: [cuda] cores for rank 0 on a") != std::string::npos) == (job.rank() == 0), text);
  const bool differ = job.rank() == 0 && job.size() > 1;
  BOOST_TEST((text.find("warning: [cuda] rank 0 on a has a driver for CUDA ") != std::string::npos) == differ, text);
}

// Before NCCL starts, whose words would be "internal error".
BOOST_AUTO_TEST_CASE(ranks_with_different_nccl_are_refused) {
  NcclJob job;
  if (job.size() > 1) {
    if (job.last()) stand_in::nccl_settings().version = NCCL_VERSION_CODE + 1;
    check_throws<levin::ConfigError>([&] { job.start(); },
                                     {"[cuda]", "rank 0 on ", "rank " + std::to_string(job.size() - 1) + " on ", "NCCL"});
  }
  stand_in::nccl_settings().version = 21900;
  check_throws<levin::ConfigError>([&] { job.start(); }, {"[cuda]", "NCCL 2.19.0, older than"});
}

BOOST_AUTO_TEST_SUITE_END()
